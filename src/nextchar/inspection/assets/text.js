// The text of the page: coloured by a neuron, a gate or surprisal; what is read at one character; search.
const strip = $("strip"), matched = new Uint8Array(shown);
const colourAt = (t) => (state.signal === SURPRISAL ? surprise(bits(t)) : diverging(level(state.unit, t)));
const view = longText(strip, {
  count: shown, letter: (t) => vocabulary[ids[t]], colour: colourAt, marked: (t) => matched[t], chosen: () => state.at,
  rows: () => ($("below").checked ? expected : 0),
  below: (t) => Array.from({ length: expected }, (_, k) => {
    const id = likeliest[t * expected + k];
    return [vocabulary[id], green(probabilities[t * expected + k] / 255), t + 1 < shown && id === ids[t + 1]];
  }),
});
function predictions(t) {
  return Array.from({ length: expected }, (_, k) => {
    const share = probabilities[t * expected + k] / 255, made = element("span", undefined, { class: "guess" });
    made.append(tinted(likeliest[t * expected + k], green(share)), ` ${Math.round(100 * share)} %`);
    if (t + 1 < shown && likeliest[t * expected + k] === ids[t + 1]) made.classList.add("right");
    return made;
  });
}
function goTo(t) {
  state.at = t;
  view.goTo(t);
  look(t, true);
}
function stayAt(t) {
  state.stay = true;
  goTo(t);
}
function fact(label, ...content) {
  const made = element("div");
  made.append(element("span", label, { class: "soft" }), " ", ...content);
  return made;
}
const strong = (text) => element("b", text);
function step(title, ...lines) {
  const made = element("div", undefined, { class: "step" });
  made.append(element("h4", title), ...lines);
  return made;
}
// From the text to the neuron to its gates, at one character.
function path3(t) {
  const unit = state.unit, name = nameOf(units[unit]), main = signals[0];
  const shade = (v, low) => {
    const made = element("b", v.toFixed(2), { class: "mono" }), colour = diverging(onScale(v, low));
    Object.assign(made.style, { background: css(colour), color: ink(colour) });
    return made;
  };
  const text = step(`Character ${number(t + 1)} of ${number(shown)}: `,
    fact("surprisal", strong(`${bits(t).toFixed(2)} bits`), `, rank ${rank[t]} of ${vocabulary.length} (entropy ${(milli[shown + t] / 1000 / Math.LN2).toFixed(2)} bits)`),
    fact("guesses for the next:", ...predictions(t)));
  text.querySelector("h4").append(tinted(ids[t], colourAt(t)));
  const neuron = step(`Neuron ${name}`, ...(t ? [fact("before it", shade(value(unit, t - 1, main), main.low))] : []),
    fact("after it", shade(value(unit, t, main), main.low)));
  const gates = signals.slice(1).map((signal) => {
    const v = value(unit, t, signal), [gate, open, closed] = GATES[signal.name], end = onScale(v, signal.low);
    return fact(gate, shade(v, signal.low), end > 0.6 ? ` ${open}` : end < -0.6 ? ` ${closed}` : "");
  });
  return [text, neuron, ...(gates.length ? [step("Its gates", ...gates)] : [])];
}
function look(t, keep) {
  state.at = t;
  $("here").replaceChildren(...path3(t));
  view.draw();
  drawCursor();
  if (keep) remember();
}
function hover(event) {
  const t = view.under(event), tip = $("tip");
  tip.hidden = t < 0 || event.pointerType === "touch";
  if (t < 0) return;
  if (t !== state.at) look(t, false);
  const [x, y] = view.place(t);
  tip.replaceChildren(element("span", "next? ", { class: "soft" }), ...predictions(t));
  const left = Math.min(x, strip.clientWidth - tip.offsetWidth - 8);
  Object.assign(tip.style, { left: `${Math.max(0, left)}px`, top: `${y + ROW + 4 - strip.scrollTop}px` });
}

// Search: the characters themselves, or the symbols shown for white space.
const byCode = new Map(data.codes.map((code, id) => [code, id]));
function idsOf(words) {
  const codes = data.bytes ? [...new TextEncoder().encode(words)] : [...words].map((c) => c.codePointAt(0));
  const shape = vocabulary.map(visible);
  const known = codes.map((code) => byCode.get(code) ?? shape.indexOf(String.fromCodePoint(code)));
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
  if (!places.length) return view.draw();
  const next = step > 0 ? places.findIndex((t) => t > state.at) : places.findLastIndex((t) => t < state.at);
  const index = next >= 0 ? next : step > 0 ? 0 : places.length - 1;
  stayAt(places[index]);
  $("found").textContent = `${number(index + 1)} of ${number(places.length)} found`;
}
