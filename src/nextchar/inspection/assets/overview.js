// Charts over all units: saturation of the gates after arXiv 1506.02078, timescales, and how far back predictions depend on the text.
const SMALL = { width: 170, height: 170 };
function drawSaturation() {
  const share = { scale: linear(0, 1), marks: [0, 0.5, 1] };
  $("saturation").replaceChildren(...data.saturation.map(({ layer, gate, points }) => {
    const mean = (k) => percent(points.reduce((sum, point) => sum + point[k], 0) / points.length);
    return captioned(`layer ${layer}, ${gateName(gate)} `, `closed ${mean(0)}, open ${mean(1)}`, chart(
      { ...share, label: "closed" }, { ...share, label: "open" }, (px, py) => [
        path([[px(0), py(1)], [px(1), py(0)]], { stroke: "var(--line)" }),
        ...points.map(([left, right], unit) => dot(px(left), py(right), `${layer}:${unit}  closed ${percent(left)}, open ${percent(right)}`))],
      { ...SMALL, label: `saturation of gate ${gate} in layer ${layer}` }));
  }));
  const gates = new Set(data.saturation.map(({ gate }) => gate)).size;
  $("saturation").style.gridTemplateColumns = `repeat(${gates}, max-content)`;
  document.querySelector(".saturated").hidden = !gates;
}
// A timescale that is longer than the text can show is drawn at the edge.
const LONGEST = 2000, SHORTEST = 0.3;
function drawTimes() {
  const axis = { scale: logarithmic(SHORTEST, LONGEST), marks: [1, 10, 100, 1000] };
  const gated = data.cell !== "rnn";
  const said = (time) => (time === null ? "longer" : time);
  $("times").replaceChildren(...data.timescales.map(({ layer, points }) => {
    const middle = points.map((point) => point[1] ?? Infinity).sort((a, b) => a - b)[points.length >> 1];
    return captioned(`layer ${layer}: `, `median by autocorrelation ${Number.isFinite(middle) ? middle.toFixed(1) : "longer"}`, chart(
      { ...axis, label: gated ? "by gate" : "(no gate)" }, { ...axis, label: "by autocorrelation" }, (px, py) =>
        points.map(([gate, course], unit) => dot(px(gated ? gate ?? LONGEST : 1), py(course ?? LONGEST), `${layer}:${unit}  gate ${said(gate)}, autocorrelation ${said(course)}`)),
      { ...SMALL, label: `timescales of layer ${layer}` }));
  }));
}
function costCurve() {
  // A logarithmic scale has no place for a context of 0 characters.
  const points = reach.contexts.map((context, k) => [context, reach.cost[k], reach.error[k] ?? 0]).filter(([context]) => context);
  if (!points.length) return element("p", "the text is too short", { class: "soft" });
  const most = Math.max(...points.map((point) => point[1] + point[2]), 0.01), last = Math.max(reach.distance, 2);
  const step = 10 ** Math.floor(Math.log10(most));
  return chart({ scale: logarithmic(1, last), marks: powers(1, last), label: "characters of context" },
    { scale: linear(Math.min(0, ...points.map((point) => point[1] - point[2])), most), marks: [0, ...[1, 2, 5].map((k) => k * step).filter((v) => v <= most)], label: "increase in bits", text: (v) => String(Number(v.toPrecision(2))) },
    (px, py) => [path(points.map(([x, y]) => [px(x), py(y)]), { stroke: "rgb(var(--blue))", "stroke-width": 1.5 }),
      ...points.map(([x, y, error]) => path([[px(x), py(y - error)], [px(x), py(y + error)]], { stroke: "rgb(var(--blue))" })),
      ...points.map(([x, y]) => dot(px(x), py(y), `${x} characters: ${y.toFixed(3)} bits`))], { label: "increase in loss by length of context" });
}
function gradientCurve() {
  const known = reach.marks.map((mark, k) => [mark, ...reach.gradient[k]]);
  const least = 1e-8 * Math.max(...known.map((row) => row[2])); // below that, gradients are rounding errors of float32
  const rows = known.filter((row) => row[2] > least);
  if (!rows.length) return element("p", "no gradient", { class: "soft" });
  const high = Math.max(...rows.map((row) => row[3])), low = Math.min(...rows.map((row) => row[2]));
  const last = Math.max(reach.distance, 2), marks = powers(low, high);
  const thin = marks.filter((_, k) => k % Math.ceil(marks.length / 5) === 0);
  return chart({ scale: logarithmic(1, last), marks: powers(1, last), label: "characters back" },
    { scale: logarithmic(low, high), marks: thin, label: "nats per unit", text: (v) => v.toExponential(0) },
    (px, py) => [
      path([...rows.map((row) => [px(row[0]), py(row[3])]), ...rows.toReversed().map((row) => [px(row[0]), py(Math.max(row[1], low))])],
        { fill: "rgb(var(--blue))", "fill-opacity": 0.2 }),
      path(rows.map((row) => [px(row[0]), py(row[2])]), { stroke: "rgb(var(--blue))", "stroke-width": 1.5 })],
    { label: "gradient by distance" });
}
function drawAttribution() {
  const index = Number($("place").value), at = reach.places[index], begin = at - reach.distance;
  const letters = Array.from({ length: reach.distance + 1 }, (_, k) => vocabulary[ids[begin + k]]);
  const colour = (k) => (k < reach.distance ? green(shades[index * reach.distance + reach.distance - k - 1] / 255) : null);
  $("attribution").replaceChildren(coloured(letters, colour, { chosen: reach.distance }));
}
function drawReach() {
  $("memory").hidden = !reach;
  if (!reach) return;
  $("cost").replaceChildren(costCurve());
  $("gradient").replaceChildren(gradientCurve());
  const enough = reach.enough === null ? "a context longer than those measured" : `a context of ${number(reach.enough)} characters`;
  $("reach-about").textContent = `With everything before it, the loss is ${reach.loss.toFixed(3)} bits per character; ${enough} ` +
    `is enough to come within 1 % of that. Half of a prediction's gradient lies within ${reach.half} characters (median of ${reach.places.length} predictions; ` +
    `the band in the chart shows the quartiles).`;
  $("reach-low").textContent = `from ${(10 ** -reach.decades).toExponential(0)} of the largest to the largest, logarithmic; the guessed character has a frame`;
  if (!$("place").children.length)
    $("place").append(...reach.places.map((at, index) => element("option", number(at), { value: index })));
  drawAttribution();
}
