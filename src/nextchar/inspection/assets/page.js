// Reads the data of this page, then draws: the unit list, the strip, the page of the unit, the saturation of the gates.
// Whatever comes from the text or the model is put on screen by textContent or fillText, so nothing in it is HTML.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);

async function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Type(await new Response(stream).arrayBuffer());
}
const [ids, milli, rank, likeliest, probabilities, values] = await Promise.all([
  unpack(data.ids, Uint32Array), unpack(data.milli, Uint16Array), unpack(data.rank, Uint32Array),
  unpack(data.likeliest, Uint32Array), unpack(data.probabilities, Uint8Array), unpack(data.values, Int8Array)]);
const gates = Object.fromEntries(await Promise.all(
  Object.entries(data.gates).map(async ([name, packed]) => [name, await unpack(packed, Int8Array)])));

const { shown, units, vocabulary, expected } = data;
const value = (unit, t) => values[unit * shown + t] / data.steps.main;
const state = { unit: 0, at: 0 };

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content;
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  return made;
}
function drawing(name, attributes, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  made.append(...inside);
  return made;
}

// Colours: blue, middle, orange as the style has them; ink by the relative luminance of WCAG 2.
let palette;
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).split(",").map(Number);
  palette = { blue: read("--blue"), mid: read("--mid"), orange: read("--orange"), green: read("--green"),
    fore: style.getPropertyValue("--fore"), back: style.getPropertyValue("--back") };
}
const mix = (one, other, share) => one.map((c, k) => Math.round(c + (other[k] - c) * share));
const diverging = (v) => mix(palette.mid, v > 0 ? palette.orange : palette.blue, Math.min(1, Math.abs(v)));
const css = (colour) => `rgb(${colour})`;
function ink([r, g, b]) {
  const linear = (c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.18 ? "#000" : "#fff";
}

// The strip: one canvas as large as what can be seen, drawn anew at every scroll.
const CELL = 13, ROW = 16, BLOCK = ROW * (1 + expected) + 10;
const strip = $("strip"), canvas = strip.querySelector("canvas"), paint = canvas.getContext("2d", { alpha: false });
const columns = () => Math.max(1, Math.floor(strip.clientWidth / CELL));

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
function drawStrip() {
  const width = strip.clientWidth, height = strip.clientHeight, ratio = devicePixelRatio || 1, n = columns();
  $("length").style.height = `${Math.max(0, Math.ceil(shown / n) * BLOCK - height)}px`;
  if (canvas.width !== width * ratio || canvas.height !== height * ratio) {
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  }
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.fillStyle = palette.back;
  paint.fillRect(0, 0, width, height);
  Object.assign(paint, { textAlign: "center", textBaseline: "middle", direction: "ltr" });
  const first = Math.floor(strip.scrollTop / BLOCK);
  for (let line = first; line * BLOCK < strip.scrollTop + height; line++) {
    const y = line * BLOCK - strip.scrollTop + 4;
    for (let t = line * n; t < Math.min(shown, (line + 1) * n); t++) {
      const x = (t % n) * CELL;
      cell(x, y, ids[t], diverging(value(state.unit, t)), false);
      for (let k = 0; k < expected; k++) {
        const id = likeliest[t * expected + k];
        const colour = mix(palette.mid, palette.green, probabilities[t * expected + k] / 255);
        cell(x, y + (k + 1) * ROW, id, colour, t + 1 < shown && id === ids[t + 1]);
      }
    }
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
  drawStrip(); // or the strip may not be long enough yet to scroll there
  strip.scrollTop = Math.max(0, Math.floor(t / columns()) * BLOCK - BLOCK);
  look(t, true);
}

// What is known of one character.
const percent = (share) => `${(100 * share).toFixed(1)} %`;
function look(t, keep) {
  state.at = t;
  const bits = milli[t] / 1000 / Math.LN2, lines = [];
  const line = (label, content) => {
    const made = element("div", label, { class: "soft" });
    made.append(document.createElement("br"));
    made.append(...content);
    lines.push(made);
  };
  const said = (text) => element("b", text);
  line(`character ${t.toLocaleString("en")}`, [element("bdo", vocabulary[ids[t]], { class: "mono" })]);
  line("its surprisal", [said(`${bits.toFixed(2)} bits`)]);
  line("its rank", [said(`${rank[t]} of ${vocabulary.length}`)]);
  line("entropy before it", [said(`${(milli[shown + t] / 1000 / Math.LN2).toFixed(2)} bits`)]);
  line(data.signal, [said(value(state.unit, t).toFixed(2))]);
  for (const [name, packed] of Object.entries(gates))
    line(name, [said((packed[state.unit * shown + t] / data.steps.gate).toFixed(2))]);
  line("expected next", Array.from({ length: expected }, (_, k) => {
    const made = element("span");
    made.append(element("bdo", vocabulary[likeliest[t * expected + k]], { class: "mono" }),
      ` ${percent(probabilities[t * expected + k] / 255)}   `);
    return made;
  }));
  $("here").replaceChildren(...lines);
  drawStrip();
  if (keep) remember();
}

// The list of units, each with its course over the text.
function sparkline(canvas, unit) {
  const width = 140, height = 22, draw = canvas.getContext("2d");
  Object.assign(canvas, { width, height });
  for (let x = 0; x < width; x++) {
    const begin = Math.floor((x * shown) / width), end = Math.max(begin + 1, Math.floor(((x + 1) * shown) / width));
    let low = 1, high = -1, sum = 0;
    for (let t = begin; t < Math.min(end, shown); t++) {
      const v = value(unit, t);
      low = Math.min(low, v); high = Math.max(high, v); sum += v;
    }
    if (high < low) continue;
    draw.fillStyle = css(mix(palette.mid, sum > 0 ? palette.orange : palette.blue, 0.35 + 0.65 * Math.abs(sum / (end - begin))));
    draw.fillRect(x, (height / 2) * (1 - high), 1, Math.max(1, (height / 2) * (high - low)));
  }
}
function drawUnits() {
  $("units").replaceChildren(...units.map((unit, index) => {
    const button = element("button"), line = element("canvas");
    button.append(element("span", `${unit.layer}:${unit.unit}`), line);
    button.title = `mean ${unit.mean}, deviation ${unit.deviation}`;
    button.onclick = () => choose(index);
    sparkline(line, index);
    return button;
  }));
}

// The page of a unit.
function windowLine([begin, members]) {
  const button = element("button", undefined, { class: "window" });
  button.append(element("span", begin.toLocaleString("en"), { class: "soft" }));
  const text = element("bdo");
  members.forEach((id, k) => {
    const letter = element("span", vocabulary[id]);
    if (begin + k < shown) {
      const colour = diverging(value(state.unit, begin + k));
      Object.assign(letter.style, { background: css(colour), color: ink(colour) });
    }
    text.append(letter);
  });
  button.append(text);
  button.disabled = begin >= shown;
  button.onclick = () => goTo(begin);
  return button;
}
function histogram({ histogram: counts }) {
  const most = Math.max(...counts), width = 320, height = 90, bar = width / counts.length;
  const bars = counts.map((count, k) => drawing("rect", { x: k * bar, width: bar - 0.5,
    y: height - (height * count) / most, height: (height * count) / most, stroke: "var(--line)", "stroke-width": 0.5,
    fill: css(diverging((2 * k + 1) / counts.length - 1)) }));
  const labels = [[0, "start", "-1"], [width / 2, "middle", "0"], [width, "end", "1"]].map(([x, anchor, text]) =>
    drawing("text", { x, y: height + 12, "text-anchor": anchor }, text));
  return drawing("svg", { width, height: height + 16, role: "img", "aria-label": "histogram" }, ...bars, ...labels);
}
function drawUnit() {
  const unit = units[state.unit];
  $("name").textContent = `Unit ${unit.layer}:${unit.unit}`;
  $("signal").textContent = `${data.signal}; over the whole text ${unit.least} to ${unit.most}, mean ${unit.mean}, deviation ${unit.deviation}`;
  $("histogram").replaceChildren(histogram(unit));
  const table = element("table");
  for (let k = 0; k < unit.high.length; k++) {
    const row = element("tr");
    for (const [id, mean] of [unit.high[k], unit.low[k]]) {
      const cell = element("td"), colour = diverging(mean), letter = element("bdo", ` ${vocabulary[id]} `, { class: "mono" });
      Object.assign(letter.style, { background: css(colour), color: ink(colour), whiteSpace: "pre" });
      cell.append(letter);
      row.append(cell, element("td", mean.toFixed(3)));
    }
    table.append(row);
  }
  $("characters").replaceChildren(table);
  for (const which of ["strongest", "weakest"]) $(which).replaceChildren(...unit[which].map(windowLine));
  [...$("units").children].forEach((button, index) => button.setAttribute("aria-current", index === state.unit));
  $("units").children[state.unit].scrollIntoView({ block: "nearest" });
}
function choose(index) {
  state.unit = (index + units.length) % units.length;
  drawUnit();
  look(state.at, true);
}

// The gates of all units, after arXiv 1506.02078.
function drawSaturation() {
  const size = 170, edge = 22;
  $("saturation").replaceChildren(...data.saturation.map(({ layer, gate, points }) => {
    const at = (share) => share * size;
    const mean = (k) => percent(points.reduce((sum, point) => sum + point[k], 0) / points.length);
    const figure = element("figure", undefined, { style: "margin:0" });
    const box = drawing("rect", { x: edge, y: 0, width: size, height: size, fill: "none", stroke: "var(--line)" });
    const limit = drawing("line", { x1: edge, y1: 0, x2: edge + size, y2: size, stroke: "var(--line)" });
    const dots = points.map(([left, right], unit) => {
      const dot = drawing("circle", { cx: edge + at(left), cy: size - at(right), r: 2.5, fill: "rgb(var(--blue))", "fill-opacity": 0.45 });
      dot.append(drawing("title", {}, `${layer}:${unit}  left ${percent(left)}, right ${percent(right)}`));
      return dot;
    });
    const labels = [[edge, size + 12, "0"], [edge + size - 6, size + 12, "1"], [edge - 9, size, "0"], [edge - 9, 9, "1"]];
    figure.append(element("figcaption", `layer ${layer}, gate ${gate}: `), drawing("svg",
      { width: size + edge + 4, height: size + 16, role: "img", "aria-label": `saturation of gate ${gate}` },
      box, limit, ...dots, ...labels.map(([x, y, text]) => drawing("text", { x, y }, text))));
    figure.firstChild.append(element("small", `${mean(0)} left, ${mean(1)} right`));
    return figure;
  }));
  $("saturation").parentElement.hidden = !data.saturation.length;
}

// The state of the view is in the address.
function remember() {
  const unit = units[state.unit];
  history.replaceState(null, "", `#unit=${unit.layer}:${unit.unit}&at=${state.at}`);
}
function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const found = units.findIndex((unit) => `${unit.layer}:${unit.unit}` === asked.get("unit"));
  const at = Number(asked.get("at"));
  state.unit = Math.max(0, found);
  drawUnit();
  goTo(Number.isInteger(at) && at >= 0 && at < shown ? at : 0);
}

$("title").textContent = document.title = data.title || "nextchar inspect";
$("about").textContent = `${data.cell}, ${data.shape}; ${data.characters.toLocaleString("en")} characters` +
  `${data.shown < data.characters ? `, the first ${data.shown.toLocaleString("en")} shown` : ""}; ` +
  `${data.bits.toFixed(3)} bits per character shown`;
$("low").textContent = "-1";
$("high").textContent = "1";
function drawAll() {
  readPalette();
  drawUnits();
  drawSaturation();
  recall();
}
strip.addEventListener("scroll", drawStrip);
strip.addEventListener("mousemove", (event) => { const t = under(event); if (t >= 0) look(t, false); });
strip.addEventListener("click", (event) => { const t = under(event); if (t >= 0) look(t, true); });
addEventListener("resize", drawStrip);
addEventListener("hashchange", recall);
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  choose(state.unit + step);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
document.body.dataset.ready = "yes";
