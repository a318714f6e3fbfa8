// The raster: one row per unit, the text from left to right; a range of the text can be zoomed.
const raster = $("raster"), surface = raster.querySelector("canvas"), TALL = Math.max(3, Math.min(9, Math.floor(420 / units.length)));
const shownSignal = () => (signals[state.signal] && state.signal ? gateName(signals[state.signal].name) : "value");
let rows = units.map((_, index) => index);

const across = (t) => ((t - state.from) / (state.to - state.from)) * raster.clientWidth;
const timeAt = (x) => Math.min(shown - 1, Math.max(0, Math.floor(state.from + (x / raster.clientWidth) * (state.to - state.from))));
function drawRaster() {
  const width = Math.max(1, raster.clientWidth), { low } = signals[state.signal] ?? signals[0];
  const table = Array.from({ length: 256 }, (_, k) => diverging(k / 127.5 - 1));
  const image = new ImageData(width, rows.length);
  rows.forEach((unit, row) => {
    for (let x = 0; x < width; x++) {
      const begin = timeAt(x), end = Math.max(begin + 1, timeAt(x + 1));
      let sum = 0;
      for (let t = begin; t < end; t++) sum += value(unit, t);
      const mean = onScale(sum / (end - begin), low);
      const colour = table[Math.round(Math.min(1, Math.max(-1, mean)) * 127.5 + 127.5)];
      image.data.set([...colour, 255], 4 * (row * width + x));
    }
  });
  const copy = new OffscreenCanvas(width, rows.length);
  copy.getContext("2d").putImageData(image, 0, 0);
  fit(surface, width, rows.length * TALL);
  const draw = surface.getContext("2d");
  draw.imageSmoothingEnabled = false;
  draw.drawImage(copy, 0, 0, width, rows.length * TALL);
  raster.style.height = `${rows.length * TALL}px`;
  drawCursor();
  $("raster-here").textContent = `characters ${number(state.from)} to ${number(state.to - 1)}, ${shownSignal()}`;
}
function drawCursor() {
  const inside = state.at >= state.from && state.at < state.to;
  Object.assign($("cursor").style, { left: `${across(state.at)}px`, top: `${rows.indexOf(state.unit) * TALL}px`, height: `${TALL}px`,
    width: `${Math.max(2, across(state.at + 1) - across(state.at))}px`, visibility: inside ? "visible" : "hidden" });
}
function arrange(how) {
  rows = how === "likeness" ? data.order : units.map((_, index) => index);
  drawRaster();
}
function zoom(from, to) {
  Object.assign(state, { from: Math.max(0, from), to: Math.min(shown, to) });
  drawRaster();
  remember();
}
let held = -1;
const inside = (event) => event.clientX - raster.getBoundingClientRect().left;
const rowOf = (event) => rows[Math.min(rows.length - 1, Math.max(0, Math.floor((event.clientY - raster.getBoundingClientRect().top) / TALL)))];
raster.addEventListener("pointerdown", (event) => { held = inside(event); raster.setPointerCapture(event.pointerId); });
raster.addEventListener("pointermove", (event) => {
  const t = timeAt(inside(event)), unit = rowOf(event);
  $("raster-here").textContent = `neuron ${nameOf(units[unit])} at character ${number(t)}: ${shownSignal()} ${value(unit, t).toFixed(2)}`;
  const mark = $("selection");
  mark.hidden = held < 0;
  if (held >= 0)
    Object.assign(mark.style, { left: `${Math.min(held, inside(event))}px`, width: `${Math.abs(inside(event) - held)}px` });
});
raster.addEventListener("pointerup", (event) => {
  const begun = held, ended = inside(event);
  held = -1;
  $("selection").hidden = true;
  if (Math.abs(ended - begun) > 5) return zoom(timeAt(Math.min(begun, ended)), Math.max(timeAt(Math.max(begun, ended)), timeAt(Math.min(begun, ended)) + 8));
  state.unit = rowOf(event);
  drawUnit();
  stayAt(timeAt(ended));
});
raster.addEventListener("dblclick", () => zoom(0, shown));
