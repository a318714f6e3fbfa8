// The list of neurons, and what the page says about the chosen one.
const titleOf = ({ named }) => (named ? named.phrase : "");
function drawUnits() {
  const list = [];
  units.forEach((unit, index) => {
    if (index === 0 && unit.named) list.push(element("h4", "named in words"));
    if (!unit.named && (index === 0 || units[index - 1].named)) list.push(element("h4", data.ranked ? "then by importance" : "as asked for"));
    const button = element("button", undefined, { "data-unit": index, type: "button" });
    button.append(element("span", nameOf(unit), { class: "mono" }), element("span", titleOf(unit)));
    if (unit.named) button.append(element("span", unit.named.score.toFixed(2), { class: "soft", title: `${unit.named.measure} on text that the search did not see` }));
    button.onclick = () => choose(index);
    list.push(button);
  });
  $("units").replaceChildren(...list);
}
function windowLine([begin, members, mean]) {
  const button = element("button", undefined, { class: "window", type: "button", title: `character ${number(begin + 1)}` });
  const colour = (k) => (begin + k < shown ? diverging(level(state.unit, begin + k, signals[0])) : null);
  if (mean !== undefined) button.append(element("span", mean.toFixed(2), { class: "soft mono" }));
  button.append(coloured(members.map((id) => vocabulary[id]), colour, { ends: false }));
  button.disabled = begin >= shown;
  button.onclick = () => { stayAt(begin); $("reading").scrollIntoView({ block: "start" }); };
  return button;
}
function histogram({ histogram: counts }) {
  const most = Math.max(...counts), scale = linear(-1, 1);
  return chart({ scale, marks: [-1, 0, 1], label: "value" }, { scale: linear(0, most), marks: [0, most], text: number },
    (px, py) => counts.map((count, k) => {
      const from = (2 * k) / counts.length - 1, width = px(from + 2 / counts.length) - px(from);
      const made = drawing("rect", { x: px(from), width: width - 0.5, y: py(count), height: py(0) - py(count),
        fill: css(diverging(from + 1 / counts.length)), stroke: "var(--line)", "stroke-width": 0.5 });
      made.append(drawing("title", {}, `${from.toFixed(3)} to ${(from + 2 / counts.length).toFixed(3)}: ${number(count)}`));
      return made;
    }), { height: 90, label: "histogram" });
}
// Two columns, the largest and the smallest: [id, value, occurrences, value of the character alone] each.
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
      if (entry?.[2] !== undefined) amount.title = `${number(entry[2])} times in the text`;
      if (entry?.[3] !== undefined && entry[3] !== null) amount.title += `; the character alone, from the empty state: ${entry[3]}`;
      row.append(place, amount);
    }
    table.append(row);
  }
  return table;
}
function drivers(unit) {
  return Object.entries(unit.drivers).map(([gate, both]) => {
    const figure = element("figure");
    figure.append(ends(both, (mean) => diverging(2 * mean - 1), [`opens the ${gateName(gate)}`, "closes it"]));
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
function evidence(unit) {
  const place = data.ranked && !unit.named ? `Nothing in our list of features fits it well. Of ${number(data.neurons)} neurons it is number ${unit.place} by importance: its outgoing weights times its spread.` : "";
  if (!unit.named) return place;
  const chance = unit.named.measure === "correlation" ? "0 is chance" : "0.5 is chance";
  const where = data.searched ? "Found on the first half of this text; on the second half, which the search did not see," : "Found by discover; on text that its search did not see,";
  return `${where} its ${unit.named.measure} is ${unit.named.score.toFixed(2)} (${chance}, 1 is perfect).`;
}
function drawLegend() {
  const name = nameOf(units[state.unit]), signal = signals[state.signal];
  const key = (text, colour) => {
    const made = element("span", text, { class: "swatch" });
    Object.assign(made.style, { background: css(colour), color: ink(colour) });
    return made;
  };
  const scale = signal === undefined
    ? ["Surprisal, how unexpected each character was: ", key("0 bits: certain", diverging(0)), key(`${LARGE / 2}`, diverging(0.5)), key(`${LARGE} bits or more`, diverging(1))]
    : signal === signals[0]
      ? [`Colour of a character: neuron ${name} after reading it: `, key("−1", diverging(-1)), key("0", diverging(0)), key("+1", diverging(1))]
      : [`Colour of a character: the ${gateName(signal.name)} of neuron ${name}: `, key(signal.low ? "−1" : "0 closed", diverging(-1)), key(signal.low ? "0" : "half", diverging(0)), key(signal.low ? "+1" : "1 open", diverging(1))];
  const below = $("below").checked
    ? [" Below: the most likely next characters, ", key("greener", green(0.8)), " is likelier; ", element("b", "bold", { style: "text-decoration: underline" }), " is what came."]
    : [];
  $("legend").replaceChildren(...scale, ...below);
  $("marks").textContent = "↵ end of a line · frame: the chosen character · bar above: a match of the search · underlined guess: what came next · elsewhere: · is a space, → a tab, \\x00 an invisible character. " +
    "Keys: ← → neurons, shift ← → characters, p guesses below, s surprisal, / search.";
}
function drawUnit() {
  const unit = units[state.unit];
  $("name").textContent = `Neuron ${nameOf(unit)} ${titleOf(unit)}`.trim();
  $("evidence").textContent = evidence(unit);
  $("views").replaceChildren(...[...signals, undefined].map((signal, index) => {
    const button = element("button", signal === undefined ? "surprisal" : index ? gateName(signal.name) : "neuron", { type: "button", "aria-pressed": index === state.signal });
    button.onclick = () => show(index);
    return button;
  }));
  drawLegend();
  $("histogram").replaceChildren(histogram(unit));
  $("timescales").textContent = `${unit.least} to ${unit.most}, mean ${unit.mean}, standard deviation ${unit.deviation}; ${lasting(unit.timescales)}`;
  $("characters").replaceChildren(ends(unit.characters, diverging, ["highest", "lowest"]));
  $("drivers").replaceChildren(...drivers(unit));
  $("gating").hidden = !Object.keys(unit.drivers).length;
  $("effect").replaceChildren(effect(unit));
  $("alike").replaceChildren(alike(unit));
  for (const which of ["strongest", "weakest", "deciles"]) $(which).replaceChildren(...unit[which].map(windowLine));
  for (const button of $("units").querySelectorAll("button")) button.setAttribute("aria-current", Number(button.dataset.unit) === state.unit);
  const list = $("units"), chosen = list.querySelector("[aria-current=true]");
  list.scrollTo({ top: chosen.offsetTop - list.clientHeight / 2, left: chosen.offsetLeft - list.clientWidth / 3 });
}
function choose(index) {
  state.unit = (index + units.length) % units.length;
  drawUnit();
  goTo(state.stay ? state.at : units[state.unit].at);
}
function show(index) {
  state.signal = index;
  drawUnit();
  drawRaster();
  look(state.at, true);
}
