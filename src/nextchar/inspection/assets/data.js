// The numbers of the page, and the selection: a neuron, what colours the text, a character, a range of the text.
const [ids, milli, rank, likeliest, probabilities] = await Promise.all([
  unpack(data.ids, Uint32Array), unpack(data.milli, Uint16Array), unpack(data.rank, Uint32Array),
  unpack(data.likeliest, Uint32Array), unpack(data.probabilities, Uint8Array)]);
const signals = await Promise.all(
  data.signals.map(async (signal) => ({ ...signal, values: await unpack(signal.values, Int8Array) })));
const shades = data.reach && await unpack(data.reach.shades, Uint8Array);

const { shown, units, vocabulary, expected, reach } = data;
const state = { unit: 0, signal: 0, at: 0, from: 0, to: shown, stay: false }; // stay: at a character that was chosen
const SURPRISAL = signals.length; // the view after those of the signals

function value(unit, t, signal = signals[state.signal] ?? signals[0]) {
  return signal.values[unit * shown + t] / signal.steps;
}
// Position of a value on its scale: -1 is the low end, 1 the high end.
const onScale = (v, low) => (low ? v : 2 * v - 1);
const level = (unit, t, signal = signals[state.signal] ?? signals[0]) => onScale(value(unit, t, signal), signal.low);
const bits = (t) => milli[t] / 1000 / Math.LN2;
const nameOf = ({ layer, unit }) => `${layer}:${unit}`;

// Gates by name, and what one does that is open or closed.
const GATES = {
  i: ["input gate", "lets the new value in", "lets nothing in"],
  f: ["forget gate", "keeps the old value", "forgets the old value"],
  g: ["candidate", "new value is high", "new value is low"],
  o: ["output gate", "shows the value", "hides the value"],
  r: ["reset gate", "uses the state before", "ignores the state before"],
  z: ["update gate", "keeps the old value", "takes the new value"],
  n: ["candidate", "new value is high", "new value is low"],
};
const gateName = (name) => GATES[name]?.[0] ?? name;
function tinted(id, colour) {
  const letter = element("bdo", visible(vocabulary[id]), { class: "mono" });
  Object.assign(letter.style, { background: css(colour), color: ink(colour) });
  return letter;
}
