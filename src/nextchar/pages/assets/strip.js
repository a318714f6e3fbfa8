// Coloured text in natural lines: one look for every page. Call readPalette() of colours.js first.
//
// A short text (an excerpt, a window) is an element with one span per character, which can be selected and copied:
//
//   box.append(coloured([..."a b\n"], (t) => diverging(values[t]), { title: (t) => `value ${values[t]}` }));
//
//   letters        one string per character: white space as itself (" ", "\n", "\t"), what is invisible as in strip.glyph
//   colour(t)      [r, g, b] behind character t, or null for none: diverging(-1 to 1) or green(0 to 1)
//   title(t)       what a pointer shows
//   underline(t)   a CSS colour below character t, or null
//   chosen         index of a character with a frame
//   ends           false: no line breaks, and "↵" alone stands for the end of a line
//
// A long text is painted on a canvas, only as much as is visible, in a scrolling box <div><canvas></canvas><div></div></div>:
//
//   const view = longText($("strip"), { count, letter: (t) => "a", colour: (t) => [r, g, b], below: (t) => [[letter, colour,
//     bold], ...], rows: () => 5, marked: (t) => false, chosen: () => 0 });
//   view.draw()  view.goTo(t)  view.under(mouse event) -> t or -1  view.place(t) -> [x, y] in the scrolled box
const BLANKS = { " ": "·", "\n": "↵", "\t": "→" };
const visible = (letter) => BLANKS[letter] ?? letter;
const tint = (letter, back) => Object.assign(letter.style, { background: css(back), color: ink(back) });

function letterSpan(letter) {
  return element("span", letter === "\n" ? "↵" : letter, letter === "\n" ? { class: "end" } : {});
}
function coloured(letters, colour, { title, underline, chosen, ends = true } = {}) {
  const text = element("bdo", undefined, { class: "coloured" });
  letters.forEach((letter, t) => {
    const span = letterSpan(letter), back = colour(t), line = underline?.(t);
    if (back) tint(span, back);
    if (line) span.style.borderBottomColor = line;
    if (t === chosen) span.classList.add("chosen");
    if (title) span.title = title(t);
    text.append(span);
    if (letter === "\n" && ends) text.append("\n");
  });
  return text;
}

const CELL = 9, ROW = 21, GAP = 5, TAB = 4;
function fit(surface, width, height) {
  const ratio = devicePixelRatio || 1;
  if (surface.width !== Math.round(width * ratio) || surface.height !== Math.round(height * ratio)) {
    Object.assign(surface, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    Object.assign(surface.style, { width: `${width}px`, height: `${height}px` });
  }
  surface.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
}
function longText(box, { count, letter, colour, below, rows, marked, chosen }) {
  const canvas = box.querySelector("canvas"), paint = canvas.getContext("2d", { alpha: false });
  const column = new Uint16Array(count), size = new Uint8Array(count).fill(1);
  let starts = [0], width = 0;
  const pitch = () => ROW + 1 + (rows() ? rows() * ROW + GAP : 0);
  // Lines end where they end in the text; one that is too long for the box is broken after a space.
  function layout() {
    const most = Math.max(4, Math.floor((box.clientWidth - 4) / CELL));
    if (most !== width) {
      width = most;
      starts = [0];
      for (let t = 0, at = 0, space = -1; t < count; t++) {
        const one = letter(t);
        size[t] = one === "\t" ? TAB - (at % TAB) : 1;
        if (at + size[t] > most && one !== "\n") {
          const from = space >= starts.at(-1) ? space + 1 : t;
          starts.push(from);
          at = 0;
          for (let k = from; k < t; k++) { column[k] = at; at += size[k]; }
        }
        column[t] = at;
        at += size[t];
        if (one === " " || one === "\t") space = t;
        if (one === "\n") {
          at = 0;
          if (t + 1 < count) starts.push(t + 1);
        }
      }
    }
    box.lastElementChild.style.height = `${Math.max(0, starts.length * pitch() + 4 - box.clientHeight)}px`;
  }
  function lineOf(t) {
    let low = 0, high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= t) low = middle; else high = middle - 1;
    }
    return low;
  }
  function cell(x, y, wide, glyph, back, bold, faint) {
    paint.fillStyle = css(back);
    paint.fillRect(x, y, wide, ROW);
    if (glyph === " " || glyph === "\t") return;
    const length = [...glyph].length;
    paint.font = `${bold ? "bold " : ""}${length < 2 ? 14 : 16 / length}px ui-monospace, Menlo, Consolas, monospace`;
    paint.fillStyle = ink(back);
    paint.globalAlpha = faint ? 0.5 : 1;
    paint.fillText(visible(glyph), x + wide / 2, y + ROW / 2 + 1, length < 2 ? undefined : wide);
    paint.globalAlpha = 1;
    if (bold) paint.fillRect(x + 1, y + ROW - 2, wide - 2, 2);
  }
  function draw() {
    layout();
    const height = box.clientHeight, high = pitch();
    fit(canvas, box.clientWidth, height);
    paint.fillStyle = palette.back;
    paint.fillRect(0, 0, box.clientWidth, height);
    Object.assign(paint, { textAlign: "center", textBaseline: "middle", direction: "ltr" });
    for (let line = Math.floor(box.scrollTop / high); line < starts.length && line * high < box.scrollTop + height; line++) {
      const y = line * high - box.scrollTop + 2, end = starts[line + 1] ?? count;
      for (let t = starts[line]; t < end; t++) {
        const x = column[t] * CELL, wide = size[t] * CELL;
        cell(x, y, wide, letter(t), colour(t), false, letter(t) === "\n");
        if (marked(t)) { paint.fillStyle = palette.fore; paint.fillRect(x, y, wide, 2); }
        if (rows()) below(t).forEach(([glyph, back, bold], k) => cell(x, y + (k + 1) * ROW, CELL, visible(glyph), back, bold));
      }
    }
    const [x, y] = place(chosen());
    paint.strokeStyle = palette.fore;
    paint.lineWidth = 2;
    paint.strokeRect(x, y - box.scrollTop, size[chosen()] * CELL, ROW);
  }
  const place = (t) => [column[t] * CELL, lineOf(t) * pitch() + 2];
  function under(event) {
    const seen = box.getBoundingClientRect(), x = (event.clientX - seen.left) / CELL;
    const line = Math.floor((event.clientY - seen.top + box.scrollTop - 2) / pitch());
    if (x < 0 || line < 0 || line >= starts.length) return -1;
    for (let t = starts[line]; t < (starts[line + 1] ?? count); t++) if (x >= column[t] && x < column[t] + size[t]) return t;
    return -1;
  }
  function goTo(t) {
    draw(); // otherwise the box may not be high enough yet to scroll there
    box.scrollTop = Math.max(0, (lineOf(t) - 1) * pitch());
  }
  return { draw, goTo, under, place };
}
