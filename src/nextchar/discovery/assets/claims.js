// Draws the claims: the list with the nulls, the selected claim with its text and effects, the table, the rest.
// Everything that comes from the text is set by textContent, so nothing in it is HTML.
const three = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const named = (unit) => (typeof unit === "string" ? unit : unit.join(":"));

// The nulls and the interval of the unit on an axis from 0 to 1.
const NULLS = [["chance", "shifts_95", "|"], ["untrained network", "untrained", "u"], ["shuffled weights", "shuffled", "s"],
  ["random directions", "rotation_largest", "r"]];
function line(claim, width = 260) {
  const height = 18, at = (value) => Math.max(0, Math.min(1, value)) * width, { evidence, nulls } = claim;
  const parts = [drawing("line", { x1: 0, x2: width, y1: 9, y2: 9, stroke: "var(--line)" }),
    drawing("rect", { x: at(evidence.low), y: 5, width: Math.max(1, at(evidence.high) - at(evidence.low)), height: 8, fill: "rgb(var(--green))", "fill-opacity": 0.4 }),
    drawing("circle", { cx: at(evidence.strength), cy: 9, r: 3.5, fill: "rgb(var(--green))" })];
  const marks = NULLS.map(([name, key, sign]) => [name, nulls[key], sign]);
  marks.push([`table of the last ${evidence.suffix.k}`, evidence.suffix.best, "t"]);
  for (const [name, value, sign] of marks) {
    const mark = sign === "|"
      ? drawing("rect", { x: 0, y: 7, width: at(value), height: 4, fill: "var(--soft)", "fill-opacity": 0.35 })
      : drawing("text", { x: at(value), y: 13, "text-anchor": "middle" }, sign);
    mark.append(drawing("title", {}, `${name}: ${three(value)}`));
    parts.push(mark);
  }
  const label = `strength ${three(evidence.strength)}; ` + marks.map(([name, value]) => `${name} ${three(value)}`).join(", ");
  return drawing("svg", { width, height, role: "img", "aria-label": label }, ...parts);
}
function drawClaims() {
  $("legend").textContent = "Dot: strength of the unit on held-out text, |2 AUC - 1| or |r|; green bar: its 95 % interval; grey bar: strength of the " +
    "best of all units by chance; u, s: best unit of an untrained network and of one with shuffled weights; t: best table of the last 1 to 8 characters; r: best random direction.";
  const head = element("tr");
  head.append(...["verdict", "feature", "unit", "strength, 0 to 1", "MCC or r", "what kept it from the next verdict"].map((name) => element("th", name)));
  $("claims").replaceChildren(head, ...data.claims.map((claim, index) => {
    const row = element("tr", undefined, { "data-feature": claim.feature }), scores = claim.evidence.scores;
    const button = element("button", claim.feature), name = element("td"), nulls = element("td");
    name.append(button);
    nulls.append(line(claim));
    row.append(element("td", claim.verdict, { class: claim.verdict }), name, element("td", named(claim.unit)), nulls,
      element("td", three(scores.mcc ?? scores.r)), element("td", claim.because, { class: "soft" }));
    row.onclick = () => choose(index);
    return row;
  }));
}

function strip(excerpt) {
  const box = element("div", undefined, { class: "strip", "aria-label": "held-out text, coloured by the value of the unit; underlined where the feature is on" });
  const text = element("bdo");
  excerpt.text.forEach((glyph, t) => {
    const letter = element("span", glyph), colour = diverging(excerpt.values[t] / data.steps);
    Object.assign(letter.style, { background: `rgb(${colour})`, color: ink(colour),
      borderBottomColor: `rgba(${palette.orange}, ${excerpt.labels[t] / 9})` });
    letter.title = `${(excerpt.values[t] / data.steps).toFixed(2)}, feature ${excerpt.labels[t]}/9`;
    text.append(letter);
  });
  box.append(text);
  return box;
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
function choose(index) {
  const claim = data.claims[index], excerpt = data.excerpts[index], charts = element("div", undefined, { class: "wide" });
  const head = element("h2", `${claim.feature}, unit ${named(claim.unit)}: ${claim.verdict} `);
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
  history.replaceState(null, "", `#${encodeURIComponent(claim.feature)}`);
}

function drawTable() {
  const { features, units, strengths } = data.table, table = element("table"), head = element("tr");
  head.append(element("th"), ...units.map((unit) => element("th", unit, { class: "up" })));
  table.append(head, ...features.map((feature, f) => {
    const row = element("tr");
    row.append(element("th", feature), ...units.map((unit, u) => {
      const cell = element("td", undefined, { class: "cell", title: `${feature}, ${unit}: ${three(strengths[f][u])}` });
      cell.style.background = `rgb(${diverging(strengths[f][u])})`;
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
    text.append(...strongest.map((window) => element("div", [...window].map((c) => (c < " " ? "↵" : c)).join(""), { class: "strip", style: "line-height:1.3" })));
    row.append(element("td", unit), element("td", `${bits.toFixed(4)} bits per character`), element("td", `closest: ${best.feature} (${three(best.strength)})`), text);
    return row;
  }));
  $("unexplained").replaceChildren(data.unexplained.length ? table : element("p", "None among the ablated units."));
  $("dropped").textContent = Object.entries(data.dropped).map(([name, why]) => `${name} (${why})`).join(", ") || "None.";
}
function drawAll() {
  readPalette();
  drawClaims();
  drawTable();
  drawRest();
  const asked = data.claims.findIndex((claim) => `#${encodeURIComponent(claim.feature)}` === location.hash);
  if (data.claims.length) choose(Math.max(0, asked));
}
$("title").textContent = document.title = data.title || "nextchar discover";
$("about").textContent = `${data.model.layers}x${data.model.hidden} ${data.model.cell}; ${data.text.characters.toLocaleString("en")} characters, features: ${data.settings.features}; ` +
  `units chosen on ${data.settings.fit_characters.toLocaleString("en")}, scored on ${data.settings.held_characters.toLocaleString("en")}; ${data.settings.shifts} shifts, ${data.settings.rotations} rotations, seed ${data.settings.seed}`;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
document.body.dataset.ready = "yes";
