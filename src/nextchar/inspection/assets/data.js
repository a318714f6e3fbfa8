// The numbers of the report, and the selection: a unit, one of its signals, a character, a range of the text.
const [ids, milli, rank, likeliest, probabilities] = await Promise.all([
  unpack(data.ids, Uint32Array), unpack(data.milli, Uint16Array), unpack(data.rank, Uint32Array),
  unpack(data.likeliest, Uint32Array), unpack(data.probabilities, Uint8Array)]);
const signals = await Promise.all(
  data.signals.map(async (signal) => ({ ...signal, values: await unpack(signal.values, Int8Array) })));
const shades = data.reach && await unpack(data.reach.shades, Uint8Array);

const { shown, units, vocabulary, expected, reach } = data;
const state = { unit: 0, signal: 0, at: 0, from: 0, to: shown };

function value(unit, t, signal = signals[state.signal]) {
  return signal.values[unit * shown + t] / signal.steps;
}
// Position of a value on its scale: -1 is the low end, 1 the high end.
const onScale = (v, low) => (low ? v : 2 * v - 1);
const level = (unit, t) => onScale(value(unit, t), signals[state.signal].low);
const nameOf = ({ layer, unit }) => `${layer}:${unit}`;
