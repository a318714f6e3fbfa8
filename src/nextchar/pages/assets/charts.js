// Charts as inline SVG: a frame with ticks, and what is drawn in it.
const WIDTH = 300, HEIGHT = 150, LEFT = 44, BOTTOM = 30;

const linear = (low, high) => (v) => (v - low) / (high - low || 1);
const logarithmic = (low, high) => (v) => Math.log(v / low) / Math.log(high / low || Math.E);
function powers(low, high) {
  const found = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); 10 ** power <= high * 1.0001; power++) found.push(10 ** power);
  return found;
}
// x and y: { scale, marks, label, text }; draw(px, py) returns the drawings inside.
function chart(x, y, draw, { width = WIDTH, height = HEIGHT, label = "" } = {}) {
  const px = (v) => LEFT + width * Math.min(1, Math.max(0, x.scale(v)));
  const py = (v) => 6 + height * (1 - Math.min(1, Math.max(0, y.scale(v))));
  const word = (text, at) => drawing("text", at, text);
  const say = (axis, v) => (axis.text ? axis.text(v) : String(v));
  return drawing("svg", { width: LEFT + width + 18, height: height + BOTTOM + 8, role: "img", "aria-label": label },
    drawing("rect", { x: LEFT, y: 6, width, height, fill: "none", stroke: "var(--line)" }),
    ...x.marks.map((v) => word(say(x, v), { x: px(v), y: height + 18, "text-anchor": "middle" })),
    ...y.marks.map((v) => word(say(y, v), { x: LEFT - 4, y: py(v) + 3, "text-anchor": "end" })),
    ...y.marks.map((v) => drawing("line", { x1: LEFT, x2: LEFT + width, y1: py(v), y2: py(v), stroke: "var(--line)", "stroke-opacity": 0.6 })),
    word(x.label, { x: LEFT + width / 2, y: height + 32, "text-anchor": "middle" }),
    ...(y.label ? [word(y.label, { x: 10, y: 6 + height / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${6 + height / 2})` })] : []),
    ...draw(px, py));
}
const path = (points, attributes) =>
  drawing("path", { d: points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""), fill: "none", ...attributes });
function dot(x, y, title) {
  const made = drawing("circle", { cx: x, cy: y, r: 2.5, fill: "rgb(var(--blue))", "fill-opacity": 0.45 });
  made.append(drawing("title", {}, title));
  return made;
}
function captioned(title, note, inside) {
  const figure = element("figure"), caption = element("figcaption", title);
  caption.append(element("small", note));
  figure.append(caption, inside);
  return figure;
}
