// The list of units, each with a sparkline, and the page of the selected unit.
function sparkline(canvas, unit) {
  const width = 140, height = 22, draw = canvas.getContext("2d");
  Object.assign(canvas, { width, height });
  for (let x = 0; x < width; x++) {
    const begin = Math.floor((x * shown) / width), end = Math.max(begin + 1, Math.floor(((x + 1) * shown) / width));
    let low = 1, high = -1, sum = 0;
    for (let t = begin; t < Math.min(end, shown); t++) {
      const v = value(unit, t, signals[0]);
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
    button.append(element("span", nameOf(unit)), line);
    button.title = `mean ${unit.mean}, deviation ${unit.deviation}`;
    button.onclick = () => choose(index);
    sparkline(line, index);
    return button;
  }));
}
function windowLine([begin, members, mean]) {
  const button = element("button", undefined, { class: "window" });
  button.append(element("span", number(begin), { class: "soft" }));
  if (mean !== undefined) button.append(element("span", mean.toFixed(2), { class: "soft" }));
  const text = element("bdo");
  members.forEach((id, k) => {
    const letter = element("span", vocabulary[id]);
    if (begin + k < shown) {
      const colour = diverging(level(state.unit, begin + k));
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
  const most = Math.max(...counts), scale = linear(-1, 1);
  return chart({ scale, marks: [-1, 0, 1], label: signals[0].name }, { scale: linear(0, most), marks: [0, most], text: number },
    (px, py) => counts.map((count, k) => {
      const from = (2 * k) / counts.length - 1, width = px(from + 2 / counts.length) - px(from);
      const made = drawing("rect", { x: px(from), width: width - 0.5, y: py(count), height: py(0) - py(count),
        fill: css(diverging(from + 1 / counts.length)), stroke: "var(--line)", "stroke-width": 0.5 });
      made.append(drawing("title", {}, `${from.toFixed(3)} to ${(from + 2 / counts.length).toFixed(3)}: ${number(count)}`));
      return made;
    }), { height: 90, label: "histogram" });
}
// Two columns, the largest and the smallest: [id, value, value of the character alone] each.
function ends([high, low], colour, heads) {
  const table = element("table");
  if (heads) {
    const row = element("tr");
    row.append(...heads.map((text) => element("th", text, { colspan: 2 })));
    table.append(row);
  }
  for (let k = 0; k < Math.max(high.length, low.length); k++) {
    const row = element("tr");
    for (const entry of [high[k], low[k]]) {
      const place = element("td"), amount = element("td", entry ? entry[1].toFixed(3) : "");
      if (entry) place.append(tinted(entry[0], colour(entry[1])));
      if (entry && entry[2] !== undefined && entry[2] !== null) amount.title = `the character alone, from the empty state: ${entry[2]}`;
      row.append(place, amount);
    }
    table.append(row);
  }
  return table;
}
function drivers(unit) {
  return Object.entries(unit.drivers).map(([gate, both]) => {
    const figure = element("figure");
    figure.append(ends(both, (mean) => diverging(2 * mean - 1), [`opens ${gate}`, `closes ${gate}`]));
    return figure;
  });
}
function effect(unit) {
  if (!unit.effect) return element("p", "none: the output layer reads only the last layer", { class: "soft" });
  const most = Math.max(...unit.effect.flat().map(([, amount]) => Math.abs(amount)), 1e-9);
  return ends(unit.effect, (amount) => diverging(amount / most), ["raises", "lowers"]);
}
function alike(unit) {
  const table = element("table"), head = element("tr");
  head.append(element("th", "most similar", { colspan: 2 }), element("th", "most opposite", { colspan: 2 }));
  table.append(head);
  for (let k = 0; k < Math.max(...unit.alike.map((end) => end.length)); k++) {
    const row = element("tr");
    for (const [layer, other, r] of unit.alike.map((end) => end[k])) {
      const place = element("td"), index = units.findIndex((each) => each.layer === layer && each.unit === other);
      const name = element(index < 0 ? "span" : "button", `${layer}:${other}`, { class: "mono link" });
      if (index >= 0) name.onclick = () => choose(index);
      else name.title = "not among the units of this page";
      place.append(name);
      row.append(place, element("td", r.toFixed(2)));
    }
    table.append(row);
  }
  return table;
}
function lasting([gate, course]) {
  const said = (time) => (time === null ? "longer than the text can show" : `${time.toFixed(1)} characters`);
  const byGate = data.cell === "rnn" ? "" : `; by its ${data.cell === "lstm" ? "forget" : "update"} gate: ${said(gate)}`;
  return `keeps its value for, by its autocorrelation: ${said(course)}${byGate}`;
}
function drawUnit() {
  const unit = units[state.unit], signal = signals[state.signal];
  $("name").textContent = `Unit ${nameOf(unit)}`;
  $("low").textContent = signal.low;
  $("high").textContent = "1";
  $("range").textContent = `${signal.name} of unit ${nameOf(unit)}; over the whole text ${signals[0].name} is ${unit.least} to ${unit.most}, mean ${unit.mean}, deviation ${unit.deviation}`;
  $("histogram").replaceChildren(histogram(unit));
  $("timescales").textContent = lasting(unit.timescales);
  $("characters").replaceChildren(ends(unit.characters, diverging, ["highest", "lowest"]));
  $("drivers").replaceChildren(...drivers(unit));
  $("drivers").parentElement.hidden = !Object.keys(unit.drivers).length;
  $("effect").replaceChildren(effect(unit));
  $("alike").replaceChildren(alike(unit));
  for (const which of ["strongest", "weakest", "deciles"]) $(which).replaceChildren(...unit[which].map(windowLine));
  [...$("units").children].forEach((button, index) => button.setAttribute("aria-current", index === state.unit));
  $("units").children[state.unit].scrollIntoView({ block: "nearest" });
}
function choose(index) {
  state.unit = (index + units.length) % units.length;
  drawUnit();
  drawCursor();
  look(state.at, true);
}
