// A text that can be edited, and whose characters may have colours. After readPalette() of colours.js:
//
//   const made = editor({ label, placeholder, colour(cell, t) -> [r, g, b] or null, title(cell), editing(), changed(), chosen(t), left() });
//   made.element               to put into the page
//   made.cells                 [{ text, ... }], one for each character; what else a cell holds is the owner's
//   made.text()                all of it; made.text(t): the characters before t
//   made.set(cells)            replace all of it; made.append(cells): add to its end
//   made.paint()               the colours have changed
//   made.caret() -> t, made.goTo(t)
//   made.mark(t)               put a frame around a character, -1 for none
//   made.at(event) -> t        the character with a colour under a pointer, or -1
//   made.under(t, element)     show an element below a character; made.under(-1) hides it
//
// title(cell): what the pointer shows of a character with a colour. chosen(t): such a character was clicked or tapped, or
// Alt-Down was pressed at the cursor; t may be the end of the text. left(): Escape, or the cursor has moved.
// editing(), changed(): before and after the text is edited. The cells of what was typed hold only their text, and so do
// those after it, because what a model says of a character depends on all that stands before.
//
// A text area, whose letters are transparent, lies above the coloured text; both break lines at the same places.
const letters = (text) => Array.from(text, (letter) => ({ text: letter }));

function editor({ label, placeholder = "", colour, title = () => "", editing = () => {}, changed = () => {}, chosen = () => {}, left = () => {} }) {
  const box = element("div", undefined, { class: "editor" }), sheet = element("div", undefined, { class: "sheet" });
  const mirror = element("div", undefined, { class: "mirror coloured", "aria-hidden": "true" });
  const area = element("textarea", undefined, {
    "aria-label": label, placeholder, spellcheck: "false", autocomplete: "off", autocapitalize: "off", autocorrect: "off", wrap: "soft" });
  const bubble = element("div", undefined, { class: "bubble" });
  bubble.hidden = true;
  sheet.append(mirror, area, bubble);
  box.append(sheet);
  const made = { element: box, area, cells: [] };
  let spans = [], lines = [], marked = -1, below = -1; // spans[t]: the element with character t; lines: [first cell, element]
  const shown = ({ text }) => (text === "\r" ? "␍" : text); // a text area makes a line end of it
  const shape = () => made.cells.map(shown).join("");

  function put(t) {
    const cell = made.cells[t], back = colour(cell, t);
    if (!lines.length || (t && made.cells[t - 1].text === "\n")) {
      lines.push([t, element("div")]);
      mirror.append(lines.at(-1)[1]);
    }
    const line = lines.at(-1)[1];
    if (back) {
      // The end of a line takes no room, or it could break the line where the text area does not.
      const span = element("span", cell.text === "\n" ? "" : shown(cell), { class: cell.text === "\n" ? "end" : "cell" });
      span.t = t;
      if (cell.text === "\n") {
        span.append(element("i", "↵"));
        tint(span.firstChild, back);
      } else tint(span, back);
      line.append(span);
      spans[t] = span;
    } else if (cell.text !== "\n") {
      if (!line.lastChild || line.lastChild.t >= 0) line.append(element("span", ""));
      if (!line.lastChild.firstChild) line.lastChild.append("");
      line.lastChild.firstChild.appendData(shown(cell));
      spans[t] = line.lastChild;
    } else spans[t] = null;
  }
  function draw(from = 0) {
    while (lines.length && lines.at(-1)[0] >= from) lines.pop()[1].remove();
    if (lines.length) {
      const [first, line] = lines.pop();
      line.remove();
      from = first;
    } else from = 0;
    spans.length = from;
    for (let t = from; t < made.cells.length; t++) put(t);
    // What follows a line end is a line, even if it is empty.
    mirror.classList.toggle("open", !made.cells.length || made.cells.at(-1).text === "\n");
    made.mark(marked);
  }
  const offset = (t) => made.cells.slice(0, t).reduce((sum, cell) => sum + shown(cell).length, 0);
  function cellAt(place) {
    let t = 0;
    for (let sum = 0; t < made.cells.length && sum < place; t++) sum += shown(made.cells[t]).length;
    return t;
  }
  const pinned = () => box.scrollHeight - box.scrollTop - box.clientHeight < 40;

  made.text = (t = made.cells.length) => made.cells.slice(0, t).map((cell) => cell.text).join("");
  made.caret = () => cellAt(area.selectionStart);
  made.goTo = (t) => {
    const at = offset(t);
    area.setSelectionRange(at, at);
  };
  made.set = (cells) => {
    const at = area.selectionStart, top = box.scrollTop;
    made.cells = cells;
    marked = -1;
    area.value = shape();
    area.setSelectionRange(at, at);
    draw();
    box.scrollTop = top;
  };
  made.append = (cells) => {
    const from = made.cells.length, stay = pinned(), was = area.selectionStart === area.value.length;
    made.cells.push(...cells);
    area.setRangeText(cells.map(shown).join(""), area.value.length, area.value.length, was ? "end" : "preserve");
    for (let t = from; t < made.cells.length; t++) put(t);
    mirror.classList.toggle("open", made.cells.at(-1)?.text === "\n");
    if (stay) box.scrollTop = box.scrollHeight;
  };
  made.paint = () => draw();
  made.mark = (t) => {
    mirror.querySelector(".chosen")?.classList.remove("chosen");
    marked = t;
    if (spans[t]?.t === t) (spans[t].querySelector("i") ?? spans[t]).classList.add("chosen");
  };
  // Where character t stands in the sheet: [left, bottom].
  function place(t) {
    const home = sheet.getBoundingClientRect();
    let rect;
    if (spans[t]?.t === t) rect = spans[t].getBoundingClientRect();
    else {
      const range = document.createRange(), node = spans[t]?.firstChild;
      if (node) {
        const first = spans.indexOf(spans[t]), at = offset(t) - offset(first);
        range.setStart(node, at);
        range.setEnd(node, at + shown(made.cells[t]).length);
        rect = range.getClientRects()[0];
      } else {
        const line = lines.findLast(([first]) => first <= t)?.[1] ?? mirror, end = line.lastElementChild?.getClientRects();
        const inside = t < made.cells.length || !mirror.classList.contains("open");
        const last = inside && end?.length ? [...end].at(-1) : null;
        rect = last ? { left: last.right, bottom: last.bottom } : { left: home.left + 10, bottom: mirror.getBoundingClientRect().bottom - 8 };
      }
    }
    return [rect.left - home.left, rect.bottom - home.top];
  }
  made.under = (t, content) => {
    below = t;
    bubble.hidden = t < 0;
    if (t < 0) return;
    if (content) bubble.replaceChildren(content);
    bubble.style.left = "0px";
    const [x, y] = place(t), most = sheet.clientWidth - bubble.offsetWidth - 6;
    bubble.style.left = `${Math.max(6, Math.min(x - 12, most))}px`;
    bubble.style.top = `${y + 4}px`;
    bubble.scrollIntoView({ block: "nearest" });
  };
  const colouredAt = (event) => document.elementsFromPoint(event.clientX, event.clientY)
    .map((each) => (each.parentElement?.t >= 0 ? each.parentElement : each)).find((each) => each.t >= 0 && mirror.contains(each))?.t ?? -1;
  made.at = colouredAt;

  area.addEventListener("input", () => {
    const before = made.cells.map(shown), after = [...area.value];
    let first = 0, same = 0;
    const least = Math.min(before.length, after.length);
    while (first < least && before[first] === after[first]) first++;
    while (same < least - first && before.at(-1 - same) === after.at(-1 - same)) same++;
    if (first === before.length && first === after.length) return;
    editing();
    const rest = made.cells.slice(before.length - same).map(({ text }) => ({ text }));
    made.cells = [...made.cells.slice(0, first), ...after.slice(first, after.length - same).map((text) => ({ text })), ...rest];
    marked = -1;
    draw(first);
    changed();
  });
  area.addEventListener("click", (event) => {
    const t = colouredAt(event);
    if (area.selectionStart !== area.selectionEnd) return;
    if (t < 0) return left();
    made.goTo(t);
    chosen(t);
  });
  area.addEventListener("pointermove", (event) => {
    const t = event.pointerType === "mouse" && !event.buttons ? colouredAt(event) : -1, words = t < 0 ? "" : title(made.cells[t]);
    if (area.title !== words) area.title = words;
    area.style.cursor = t < 0 ? "" : "pointer";
  });
  // A first tap on a coloured character chooses it without the keyboard of a phone, which would cover half of the page.
  let tap = null;
  area.addEventListener("touchstart", ({ touches }) => {
    const [{ clientX, clientY }] = touches;
    tap = touches.length === 1 ? { clientX, clientY, at: performance.now() } : null;
  }, { passive: true });
  area.addEventListener("touchend", (event) => {
    const end = event.changedTouches[0], moved = tap ? Math.hypot(end.clientX - tap.clientX, end.clientY - tap.clientY) : Infinity;
    const t = moved < 10 && performance.now() - tap.at < 500 ? colouredAt(end) : -1;
    if (t < 0 || document.activeElement === area) return;
    event.preventDefault();
    chosen(t);
  });
  area.addEventListener("keydown", (event) => {
    if (event.altKey && event.key === "ArrowDown") {
      event.preventDefault();
      chosen(made.caret(), true);
    } else if (event.key === "Escape" && below >= 0) {
      event.preventDefault();
      left();
    }
  });
  area.addEventListener("keyup", (event) => {
    if (below >= 0 && !event.altKey && /^(Arrow|Home|End|Page)/.test(event.key) && made.caret() !== below) left();
  });
  new ResizeObserver(() => below >= 0 && made.under(below)).observe(sheet);
  return made;
}
