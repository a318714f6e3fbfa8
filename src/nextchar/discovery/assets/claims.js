// Draws the findings as cards, and below them, for scientists, every claim with its nulls, text and effects.
// Everything that comes from the text is set by textContent, so nothing in it is HTML.
const three = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const named = (unit) => (typeof unit === "string" ? unit : unit.join(":"));
const indexOf = (feature) => data.claims.findIndex((claim) => claim.feature === feature);

function strip(excerpt) {
  const box = element("div", undefined, { class: "strip", tabindex: 0, role: "region", "aria-label": "held-out text, coloured by the value of the neuron; underlined where the feature is on" });
  const value = (t) => excerpt.values[t] / data.steps, on = (t) => excerpt.labels[t];
  box.append(coloured(excerpt.text, (t) => diverging(value(t)), { title: (t) => `${value(t).toFixed(2)}, feature ${on(t)}/9`,
    underline: (t) => on(t) && `rgba(${palette.orange}, ${on(t) / 9})` }));
  return box;
}
function key(...entries) {
  return entries.map(([mark, words]) => {
    const entry = element("span");
    entry.append(...[mark].flat(), words);
    return entry;
  });
}

// The cards.
function turns({ rises, falls }) {
  const table = element("table", undefined, { class: "turns" });
  for (const [words, some] of [["turns on most after", rises], ["turns off most after", falls]]) {
    if (!some.length) continue;
    const row = element("tr"), cell = element("td");
    for (const { after, change, times } of some)
      cell.append(element("bdo", after, { title: `mean change ${change.toFixed(2)}, ${number(times)} times` }), ` ${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(2)}   `);
    row.append(element("td", words, { class: "soft" }), cell);
    table.append(row);
  }
  return table;
}
// The text that was written while the neuron was held at either end.
function samples({ doses, samples: texts }) {
  const made = element("details", undefined, { class: "held" });
  made.append(element("summary", "What the network writes while it is held"));
  for (const [words, k] of [["at yes", doses.length - 1], ["at no", 0]])
    made.append(element("p", `${words} (${doses[k].toFixed(2)})`, { class: "soft" }), element("pre", texts[k]));
  return made;
}
function card(finding) {
  const made = element("article"), title = element("h3"), links = element("p", undefined, { class: "links" }), index = indexOf(finding.feature);
  title.append(element("span", finding.unit, { class: "neuron", title: `neuron ${finding.unit.split(":")[1]} of layer ${finding.unit.split(":")[0]}, both counted from 0` }), ` ${finding.name}`);
  links.append(element("a", "All its numbers", { href: `#${encodeURIComponent(finding.feature)}` }));
  if (data.inspected) links.append(element("a", `Read a text with ${finding.unit}`, { href: `${data.inspected}#unit=${finding.unit}` }));
  const { kind, evidence, steer } = data.claims[index], [yes, no] = evidence.sign > 0 ? ["orange", "blue"] : ["blue", "orange"];
  const caption = kind === "binary" ? `${yes}: the neuron says yes; ${no}: it says no` : `${yes}: a large number; ${no}: a small one`;
  made.append(title, strip(data.excerpts[index]), element("p", caption, { class: "soft small" }), element("p", finding.numbers), element("p", finding.held), ...(steer.doses ? [samples(steer)] : []), turns(finding));
  if (finding.also.length) made.append(element("p", `Also: ${finding.also.join("; ")}.`, { class: "soft" }));
  if (finding.others.length) made.append(element("p", `Other neurons that follow it: ${finding.others.join(", ")}.`, { class: "soft" }));
  made.append(links);
  return made;
}
function drawFindings() {
  const some = data.findings.length;
  $("intro").textContent = some
    ? `The network was trained to predict the next character, and nothing else: nobody told it about brackets, quotes or lines. ` +
      `Of its ${number(data.model.hidden * data.model.layers)} neurons, ${some === 1 ? "one follows" : `${some} follow`} something in this text that the last characters alone do not tell. Each was chosen on one half of the text; all numbers are from the other half.`
    : data.nothing;
  $("key").replaceChildren(...(some ? key([["−1", element("i", undefined, { class: "ramp" })], "1: value of the neuron after each character"], [element("b", "underlined", { class: "on" }), "where the text has what the card names"], ["↵", "end of a line"]) : []));
  $("findings").replaceChildren(...data.findings.map(card));
  $("explained").textContent = some ? data.explained : "";
}

// The nulls and the interval of the unit on an axis from 0 to 1, each with a mark of its own.
const NULLS = [["untrained network", "untrained", (x) => `M${x} 4l4 8h-8z`], ["shuffled weights", "shuffled", (x) => `M${x - 3.5} 5.5h7v7h-7z`],
  ["random directions", "rotation_largest", (x) => `M${x - 4} 5l8 8m0-8l-8 8`]];
const TABLE = (x) => `M${x} 4l4.5 5l-4.5 5l-4.5-5z`;
const outline = (shape, x) => drawing("path", { d: shape(x), fill: "none", stroke: "var(--fore)", "stroke-width": 1.3 });
const bar = (x, width) => drawing("rect", { x, y: 5, width, height: 8, fill: "rgb(var(--green))", "fill-opacity": 0.4 });
const chance = (width) => drawing("rect", { x: 0, y: 7, width, height: 4, fill: "var(--soft)", "fill-opacity": 0.35 });
const disc = (cx) => drawing("circle", { cx, cy: 9, r: 3.5, fill: "rgb(var(--green))" });
function line(claim, width = 200) {
  const at = (value) => Math.max(0, Math.min(1, value)) * width, { evidence, nulls } = claim;
  const marks = [...NULLS.map(([name, key, shape]) => [name, nulls[key], shape]), [`table of the last ${evidence.suffix.k} characters`, evidence.suffix.best, TABLE]];
  const parts = marks.map(([name, value, shape]) => {
    const mark = outline(shape, at(value));
    mark.append(drawing("title", {}, `${name}: ${three(value)}`));
    return mark;
  });
  const label = `strength ${three(evidence.strength)}; chance ${three(nulls.shifts_95)}, ` + marks.map(([name, value]) => `${name} ${three(value)}`).join(", ");
  return drawing("svg", { width: width + 8, height: 18, viewBox: `-4 0 ${width + 8} 18`, role: "img", "aria-label": label },
    drawing("line", { x1: 0, x2: width, y1: 9, y2: 9, stroke: "var(--line)" }), chance(at(nulls.shifts_95)),
    bar(at(evidence.low), Math.max(1, at(evidence.high) - at(evidence.low))), ...parts, disc(at(evidence.strength)));
}
function sample(...inside) {
  return drawing("svg", { width: 18, height: 18, "aria-hidden": "true" }, ...inside);
}
function drawLegend() {
  $("legend").replaceChildren(...key([sample(disc(9)), "the neuron: strength on held-out text, |2 AUC − 1| or |r|; 0 is no relation, 1 a complete one"], [sample(bar(1, 16)), "its 95 % interval"],
    [sample(chance(18)), "best of all neurons by chance, 95 % of shifts"], ...NULLS.map(([name, , shape]) => [sample(outline(shape, 9)), name === "random directions" ? "best random direction" : `best neuron of ${name === "untrained network" ? "an untrained network" : "a network with shuffled weights"}`]),
    [sample(outline(TABLE, 9)), "best table of the last 1 to 8 characters"]));
}
const COLUMNS = [["verdict"], ["feature"], ["neuron"], ["0 to 1"], ["strength", (c) => three(c.evidence.strength)], ["AUC", (c) => three(c.evidence.scores.auc)],
  ["MCC", (c) => three(c.evidence.scores.mcc)], ["r", (c) => three(c.evidence.scores.r)], ["chance", (c) => three(c.nulls.shifts_95)], ["untrained", (c) => three(c.nulls.untrained)],
  ["shuffled", (c) => three(c.nulls.shuffled)], ["last characters", (c) => three(c.evidence.suffix.best)], ["random direction", (c) => three(c.nulls.rotation_largest)],
  ["ablated: bits where on", (c) => ablated(c, "on_bits")], ["where off", (c) => ablated(c, "off_bits")], ["what kept it from the next verdict", (c) => c.because]];
const ablated = (claim, which) => (claim.effect.controls ? claim.effect[which].toFixed(4) : !data.settings.causal ? "causal test skipped" : "–");
function drawClaims() {
  const head = element("tr");
  head.append(...COLUMNS.map(([name]) => element("th", name)));
  $("claims").replaceChildren(head, ...data.claims.map((claim, index) => {
    const row = element("tr", undefined, { "data-feature": claim.feature }), name = element("td"), nulls = element("td");
    name.append(element("button", claim.feature, { type: "button" }));
    nulls.append(line(claim));
    row.append(element("td", claim.verdict, { class: claim.verdict }), name, element("td", named(claim.unit)), nulls, ...COLUMNS.slice(4).map(([, value]) => element("td", value(claim))));
    row.onclick = () => choose(index, true);
    return row;
  }));
}

// A line chart; each curve is a name, values and a colour.
function chart(title, x, curves, xName) {
  const width = 300, height = 130, left = 34, all = curves.flatMap(([, values]) => values);
  const low = Math.min(0, ...all), high = Math.max(...all, low + 1e-9);
  const px = (k) => left + (x.length > 1 ? (k / (x.length - 1)) * (width - left) : 0);
  const py = (v) => height - 18 - ((v - low) / (high - low)) * (height - 30);
  const parts = curves.flatMap(([name, values, colour], which) => [
    drawing("polyline", { points: values.map((v, k) => `${px(k)},${py(v)}`).join(" "), fill: "none", stroke: colour, "stroke-width": 2 }),
    drawing("text", { x: left + 4 + which * 90, y: 8, style: `fill:${colour}` }, name)]);
  const labels = x.map((value, k) => (k === 0 || k === x.length - 1 || k === x.length >> 1)
    ? drawing("text", { x: px(k), y: height - 4, "text-anchor": "middle" }, String(Math.round(value * 1000) / 1000)) : "");
  const figure = element("figure", undefined, { style: "margin:0" });
  figure.append(element("figcaption", title), drawing("svg", { width, height: height + 12, role: "img", "aria-label": title },
    drawing("text", { x: 0, y: py(high) + 4 }, high.toPrecision(3)), drawing("text", { x: 0, y: py(low) }, low.toPrecision(3)), ...parts, ...labels,
    drawing("text", { x: (left + width) / 2, y: height + 8, "text-anchor": "middle" }, xName)));
  return figure;
}
function facts(claim) {
  const { evidence, nulls, effect, patch, about } = claim, lines = [];
  lines.push(`${about.characters.toLocaleString("en")} characters in ${about.runs.toLocaleString("en")} runs, mean length ${about.mean_run.toFixed(1)}`);
  lines.push("held out: " + Object.entries(evidence.scores).map(([name, value]) => `${name.replaceAll("_", " ")} ${three(value)}`).join(", ") +
    `; 95 % interval of the strength ${three(evidence.low)} to ${three(evidence.high)}`);
  lines.push(`circular shifts: p ${three(nulls.p)}, q ${three(nulls.q)}, largest strength by chance ${three(nulls.shifts_largest)}; lead over the table of the last ${evidence.suffix.k} characters: ${three(evidence.suffix.lead_low)} to ${three(evidence.suffix.lead_high)}`);
  if (evidence.deep.k) lines.push(`15 characters and more after a change: strength ${three(evidence.deep.strength)}, lead over the table of the last ${evidence.deep.k}: ${three(evidence.deep.lead_low)} to ${three(evidence.deep.lead_high)}`);
  if (effect.controls) lines.push(`ablated: ${effect.on_bits.toFixed(4)} more bits per character where the feature is on, ${effect.off_bits.toFixed(4)} where it is off, ${effect.closing_bits === null ? "–" : effect.closing_bits.toFixed(4)} where it ends; ` +
    `percentile ${effect.percentile.toFixed(0)} of ${effect.controls} control units (99 % of them are below ${effect.controls_99.toFixed(4)})`);
  if (patch.pairs) lines.push(`patched into ${patch.pairs} texts without the opening mark: restores ${(100 * patch.recovered).toFixed(0)} % of the mark's effect on the closing mark, ${three(patch.nats)} nats (best of the other units: ${(100 * patch.others_largest).toFixed(0)} %)`);
  lines.push("next best units: " + claim.units.map(({ unit, strength }) => `${unit} (${three(strength)})`).join(", "));
  lines.push("it also follows: " + claim.others.map(({ feature, strength }) => `${feature} (${three(strength)})`).join(", "));
  lines.push("correlated units: " + claim.alike.map(({ unit, r }) => `${unit} (r ${three(r)})`).join(", "));
  const list = element("ul");
  list.append(...lines.map((text) => element("li", text)));
  return list;
}
let chosen = 0;
function choose(index, keep) {
  chosen = index;
  const claim = data.claims[index], excerpt = data.excerpts[index], charts = element("div", undefined, { class: "wide" });
  const head = element("h2", `${claim.feature}, neuron ${named(claim.unit)}: ${claim.verdict} `);
  if (data.inspected) head.append(element("a", "open in inspect", { href: `${data.inspected}#unit=${named(claim.unit)}` }));
  const sizes = ["1", "2", "4", "8", "16", "all"];
  charts.append(chart(`Probes of several units (control task: ${three(claim.probe.control)})`, sizes.map((size) => (size === "all" ? data.model.hidden * data.model.layers : Number(size))),
    [["strength", sizes.map((size) => claim.probe[size]), "rgb(var(--green))"]], "units"));
  if (claim.steer.doses) {
    charts.append(chart(`Steering: share of characters generated as if the feature were on (Spearman ${three(claim.steer.monotone)})`, claim.steer.doses, [["share", claim.steer.shares, "rgb(var(--orange))"]], "dose"),
      chart("Steering: loss of that text without intervention", claim.steer.doses, [["bits per character", claim.steer.bits, "rgb(var(--blue))"]], "dose"),
      ...[0, claim.steer.doses.length - 1].map((k) => {
        const figure = element("figure", undefined, { class: "written" });
        figure.append(element("figcaption", `Generated at dose ${claim.steer.doses[k].toFixed(2)}`), element("pre", claim.steer.samples[k]));
        return figure;
      }));
  }
  const born = data.births.features?.[claim.feature];
  if (born) charts.append(chart("During training", data.births.steps, [["this unit", born.unit, "rgb(var(--green))"], ["best unit", born.best, "rgb(var(--orange))"], ["all units", born.probe_all, "rgb(var(--blue))"]], "step"));
  $("claim").replaceChildren(head, element("p", `Held-out text from character ${excerpt.begin.toLocaleString("en")}; colour: value of the unit, blue -1 to orange 1; underlined: the feature is on.`),
    strip(excerpt), facts(claim), charts);
  [...$("claims").querySelectorAll("tr[data-feature]")].forEach((row, k) => row.setAttribute("aria-selected", k === index));
  if (keep) history.replaceState(null, "", `#${encodeURIComponent(claim.feature)}`);
}

function drawTable() {
  const { features, units, strengths } = data.table, table = element("table"), head = element("tr");
  head.append(element("th"), ...units.map((unit) => element("th", unit, { class: "up" })));
  table.append(head, ...features.map((feature, f) => {
    const row = element("tr");
    row.append(element("th", feature), ...units.map((unit, u) => {
      const cell = element("td", undefined, { class: "cell", title: `${feature}, ${unit}: ${three(strengths[f][u])}` });
      cell.style.background = css(diverging(strengths[f][u]));
      return cell;
    }));
    return row;
  }));
  $("table").replaceChildren(table);
}
function drawRest() {
  const table = element("table");
  table.append(...data.unexplained.map(({ unit, bits, best, strongest }) => {
    const row = element("tr"), text = element("td");
    text.append(...strongest.map((window) => element("div", [...window].map((c) => (c < " " ? "↵" : c)).join(""), { class: "strip" })));
    row.append(element("td", unit), element("td", `${bits.toFixed(4)} bits per character`), element("td", `closest: ${best.feature} (${three(best.strength)})`), text);
    return row;
  }));
  $("unexplained").replaceChildren(data.unexplained.length ? table : element("p", "None among the ablated units."));
  $("dropped").textContent = Object.entries(data.dropped).map(([name, why]) => `${name} (${why})`).join(", ") || "None.";
}
// An address that names a feature opens the part for scientists at it.
function recall() {
  const asked = indexOf(decodeURIComponent(location.hash.slice(1)));
  if (data.claims.length) choose(Math.max(0, asked));
  if (asked < 0) return;
  $("science").open = true;
  $("claim").scrollIntoView();
}
function drawAll() {
  readPalette();
  drawFindings();
  drawLegend();
  drawClaims();
  drawTable();
  drawRest();
  recall();
}
$("title").textContent = document.title = data.title || "nextchar discover";
$("about").textContent = `${data.model.layers}x${data.model.hidden} ${data.model.cell}; ${number(data.text.characters)} characters, features: ${data.settings.features}; ` +
  `neurons chosen on ${number(data.settings.fit_characters)}, scored on ${number(data.settings.held_characters)}; ${data.settings.shifts} shifts, ${data.settings.rotations} rotations, seed ${data.settings.seed}`;
document.querySelector("#science > summary").textContent = `For scientists: all ${number(data.claims.length)} features with verdicts, nulls and causal tests`;
addEventListener("hashchange", recall);
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || !$("science").open || event.altKey || event.ctrlKey || event.metaKey || event.target.closest(".scroll, .strip")) return;
  choose((chosen + step + data.claims.length) % data.claims.length, true);
  event.preventDefault();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
document.body.dataset.ready = "yes";
