// The strip: one canvas as large as the visible part, redrawn at every scroll; and the details of one character.
const CELL = 13, ROW = 16, BLOCK = ROW * (1 + expected) + 10;
const strip = $("strip"), canvas = strip.querySelector("canvas"), paint = canvas.getContext("2d", { alpha: false });
const columns = () => Math.max(1, Math.floor(strip.clientWidth / CELL));
const matched = new Uint8Array(shown);

function cell(x, y, id, colour, mark) {
  const glyph = vocabulary[id];
  paint.fillStyle = css(colour);
  paint.fillRect(x, y, CELL, ROW);
  paint.fillStyle = ink(colour);
  const length = [...glyph].length;
  paint.font = `${mark ? "bold " : ""}${length < 3 ? 12 : 20 / length}px ui-monospace, Menlo, Consolas, monospace`;
  paint.fillText(glyph, x + CELL / 2, y + ROW / 2 + 1);
  if (mark) paint.fillRect(x + 1, y + ROW - 2, CELL - 2, 2);
}
function fit(surface, width, height) {
  const ratio = devicePixelRatio || 1;
  if (surface.width !== Math.round(width * ratio) || surface.height !== Math.round(height * ratio)) {
    Object.assign(surface, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    Object.assign(surface.style, { width: `${width}px`, height: `${height}px` });
  }
  surface.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
}
function drawColumn(t, x, y) {
  cell(x, y, ids[t], diverging(level(state.unit, t)), false);
  for (let k = 0; k < expected; k++) {
    const id = likeliest[t * expected + k];
    cell(x, y + (k + 1) * ROW, id, green(probabilities[t * expected + k] / 255), t + 1 < shown && id === ids[t + 1]);
  }
  if (matched[t]) {
    paint.fillStyle = palette.fore;
    paint.fillRect(x, y - 3, CELL, 2);
  }
}
function drawStrip() {
  const width = strip.clientWidth, height = strip.clientHeight, n = columns();
  $("length").style.height = `${Math.max(0, Math.ceil(shown / n) * BLOCK - height)}px`;
  fit(canvas, width, height);
  paint.fillStyle = palette.back;
  paint.fillRect(0, 0, width, height);
  Object.assign(paint, { textAlign: "center", textBaseline: "middle", direction: "ltr" });
  const first = Math.floor(strip.scrollTop / BLOCK);
  for (let line = first; line * BLOCK < strip.scrollTop + height; line++) {
    const y = line * BLOCK - strip.scrollTop + 4;
    for (let t = line * n; t < Math.min(shown, (line + 1) * n); t++) drawColumn(t, (t % n) * CELL, y);
  }
  if (Math.floor(state.at / n) >= first) {
    paint.strokeStyle = palette.fore;
    paint.lineWidth = 2;
    paint.strokeRect((state.at % n) * CELL, Math.floor(state.at / n) * BLOCK - strip.scrollTop + 3, CELL, ROW + 2);
  }
}
function under(event) {
  const box = strip.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left) / CELL);
  const t = Math.floor((event.clientY - box.top + strip.scrollTop) / BLOCK) * columns() + column;
  return column >= 0 && column < columns() && t < shown ? t : -1;
}
function goTo(t) {
  drawStrip(); // otherwise the strip may not be long enough yet to scroll there
  strip.scrollTop = Math.max(0, Math.floor(t / columns()) * BLOCK - BLOCK);
  look(t, true);
}
function look(t, keep) {
  state.at = t;
  const lines = [];
  const line = (label, ...content) => {
    const made = element("div", label, { class: "soft" });
    made.append(document.createElement("br"), ...content);
    lines.push(made);
  };
  const bits = (nats) => element("b", `${(nats / 1000 / Math.LN2).toFixed(2)} bits`);
  line(`character ${number(t)}`, element("bdo", vocabulary[ids[t]], { class: "mono" }));
  line("surprisal", bits(milli[t]));
  line("rank", element("b", `${rank[t]} of ${vocabulary.length}`));
  line("entropy of the prediction", bits(milli[shown + t]));
  for (const signal of signals) line(signal.name, element("b", value(state.unit, t, signal).toFixed(2)));
  line("predicted next", ...Array.from({ length: expected }, (_, k) => {
    const made = element("span");
    made.append(element("bdo", vocabulary[likeliest[t * expected + k]], { class: "mono" }),
      ` ${percent(probabilities[t * expected + k] / 255)}   `);
    return made;
  }));
  $("here").replaceChildren(...lines);
  drawStrip();
  drawCursor();
  if (keep) remember();
}

// Search: the characters themselves, or the symbols shown for white space.
const byCode = new Map(data.codes.map((code, id) => [code, id]));
function idsOf(words) {
  const codes = data.bytes ? [...new TextEncoder().encode(words)] : [...words].map((c) => c.codePointAt(0));
  const known = codes.map((code) => byCode.get(code) ?? vocabulary.indexOf(String.fromCodePoint(code)));
  return known.includes(-1) ? [] : known;
}
let places = [];
function search(words) {
  const wanted = idsOf(words), none = !wanted.length;
  places = [];
  matched.fill(0);
  for (let t = 0; !none && t + wanted.length <= shown; t++)
    if (wanted.every((id, k) => ids[t + k] === id)) {
      places.push(t);
      matched.fill(1, t, t + wanted.length);
    }
  $("found").textContent = words ? `${number(places.length)} found` : "";
}
function goToMatch(step) {
  if (!places.length) return drawStrip();
  const next = step > 0 ? places.findIndex((t) => t > state.at) : places.findLastIndex((t) => t < state.at);
  const index = next >= 0 ? next : step > 0 ? 0 : places.length - 1;
  goTo(places[index]);
  $("found").textContent = `${number(index + 1)} of ${number(places.length)} found`;
}
