// The worker of an exported page. Takes { open } once, then { call, task, text, ...options } and { cancel: call }; sends
// { opened }, { checked } and, for every call, { call, steps } until { call, done } or { call, error }. A step is one
// character: { id, logprob, alternatives: [[id, logprob], ...] }, and of the task "look" { id, neurons: [value, ...] }.
const SLICE = 25; // milliseconds of work between two messages, in which others can arrive
const running = new Set();
let net, model;

// Returns a function that waits until messages that have arrived are handled. A timer would wait at least 4 ms.
function pauses() {
  const { port1, port2 } = new MessageChannel();
  return () => new Promise((done) => { port1.onmessage = () => done(); port2.postMessage(0); });
}
const named = (code) => (model.bytes ? `0x${code.toString(16).toUpperCase().padStart(2, "0")}`
  : `${code > 32 ? `'${String.fromCodePoint(code)}' ` : ""}(U+${code.toString(16).toUpperCase().padStart(4, "0")})`);
const codesOf = (text) => (model.bytes ? [...new TextEncoder().encode(text)] : Array.from(text, (c) => c.codePointAt(0)));
function encode(text) {
  const codes = codesOf(text), missing = [...new Set(codes.filter((code) => !model.ids.has(code)))];
  if (missing.length) throw new Error(`The text has characters that this model has never seen: ${missing.slice(0, 5).map(named).join(", ")}${missing.length > 5 ? " and others" : ""}.`);
  return codes.map((code) => model.ids.get(code));
}
// A stop string with a character that the model does not know cannot occur.
const stopIds = (stops) => stops.map(codesOf).filter((codes) => codes.length && codes.every((code) => model.ids.has(code)))
  .map((codes) => codes.map((code) => model.ids.get(code)));

const APART = 64; // characters between two states that are kept
let last = { ids: [], values: [], states: [] }; // the reading of the text that was read or drawn last

// What the chosen neurons hold: tanh of the cell of an lstm, the hidden state of the others.
function values({ memory }) {
  return model.neurons.map(({ layer, unit }) => {
    const held = memory[layer * model.shape.units + unit];
    return model.shape.cell === "lstm" ? Math.tanh(held) : held;
  });
}
const copy = ({ hidden, memory, logits }) => ({ hidden: hidden.slice(), memory: memory.slice(), logits: logits.slice() });
function shared(ids) {
  let same = 0;
  while (same < ids.length && ids[same] === last.ids[same]) same++;
  return same;
}
// A text that is read or drawn: its ids, what the chosen neurons held after each, and states, [place, state], from which
// another text that begins alike goes on.
class Reading {
  constructor(ids) {
    const same = shared(ids);
    this.states = last.states.filter(([place]) => place <= same);
    const [place, state] = this.states.at(-1) ?? [0, null];
    this.ids = ids.slice(0, place);
    this.values = last.values.slice(0, place);
    this.state = state ? copy(state) : net.empty();
    if (!state) net.read(this.state, net.size);
  }
  get logits() {
    return this.state.logits.subarray(0, net.size);
  }
  add(id) {
    net.read(this.state, id);
    this.ids.push(id);
    this.values.push(values(this.state));
    if (this.ids.length % APART === 0) this.keep();
  }
  keep() {
    if (this.states.at(-1)?.[0] !== this.ids.length) this.states.push([this.ids.length, copy(this.state)]);
    last = this;
  }
}
function step(logits, id, alternatives) {
  const logprobs = logProbabilities(logits);
  const order = alternatives ? [...logprobs.keys()].sort((j, k) => logprobs[k] - logprobs[j] || j - k).slice(0, alternatives) : [];
  return { id, logprob: logprobs[id], alternatives: order.map((k) => [k, logprobs[k]]) };
}
// The tasks yield steps, and null where only time has passed.
function* score({ ids, alternatives = 0 }) {
  const state = net.empty();
  net.read(state, net.size);
  for (const id of ids) {
    yield step(state.logits.subarray(0, net.size), id, alternatives);
    net.read(state, id);
  }
}
function* look({ ids, most = Infinity }) {
  const known = shared(ids) === ids.length, reading = known ? last : new Reading(ids);
  for (const id of known ? [] : ids.slice(reading.ids.length)) {
    reading.add(id);
    yield null;
  }
  if (!known) reading.keep();
  const first = Math.max(0, ids.length - most);
  yield* reading.values.slice(first, ids.length).map((held, k) => ({ id: ids[first + k], neurons: held }));
}
const endsWith = (ids, stop) => stop.length <= ids.length && stop.every((id, k) => ids[ids.length - stop.length + k] === id);
function* generate({ ids, length, seed, stop = [], alternatives = 0, ...options }) {
  const reading = new Reading(ids), key = streamKey(seed), stops = stopIds(stop), held = [];
  for (const id of ids.slice(reading.ids.length)) {
    reading.add(id);
    yield null;
  }
  reading.keep();
  for (let place = 0; place < length; place++) {
    const made = step(reading.logits, draw(reading.logits, options, uniform(key, place)), alternatives);
    reading.add(made.id);
    held.push(made);
    const drawn = held.map((each) => each.id), found = stops.filter((each) => endsWith(drawn, each));
    if (found.length) {
      held.length -= Math.max(...found.map((each) => each.length));
      break;
    }
    // What may be the beginning of a stop string is held back.
    const most = Math.max(0, ...stops.map((each) => {
      let size = Math.min(held.length, each.length - 1);
      while (size && !endsWith(drawn, each.slice(0, size))) size--;
      return size;
    }));
    yield* held.splice(0, held.length - most);
  }
  reading.keep();
  yield* held;
}
const TASKS = { generate, score, look };
async function run({ call, task, text, ...options }) {
  const pause = pauses();
  let steps = [], due = 0; // the first step is sent at once
  running.add(call);
  try {
    for (const made of TASKS[task]({ ids: encode(text), ...options })) {
      if (made) steps.push(made);
      if (performance.now() < due) continue;
      if (steps.length) postMessage({ call, steps: steps.splice(0) });
      await pause();
      if (!running.has(call)) return;
      due = performance.now() + SLICE;
    }
    if (steps.length) postMessage({ call, steps });
    postMessage({ call, done: true });
  } catch (error) {
    postMessage({ call, error: error.message });
  } finally {
    running.delete(call);
  }
}
// Compares this engine with the one that wrote the file: ln p of the characters of a text.
async function check({ ids, logprobs }) {
  const pause = pauses();
  let place = 0, largest = 0;
  for (const { logprob } of score({ ids })) {
    largest = Math.max(largest, Math.abs(logprob - logprobs[place++]) || (Number.isFinite(logprob) ? 0 : Infinity));
    if (place % 8 === 0) await pause();
  }
  postMessage({ checked: { characters: place, largest } });
}
async function open({ shape, arrays, codes, bytes, neurons, known }) {
  const types = { table: Float32Array, bias: Float32Array, scales: Float32Array, head_bias: Float32Array, head_scales: Float32Array };
  const Weights = shape.whole ? Int8Array : Float32Array;
  const unpacked = await Promise.all(Object.entries(arrays).map(async ([name, text]) => [name, await unpack(text, types[name] ?? Weights)]));
  model = { shape, bytes, neurons, ids: new Map(codes.map((code, id) => [code, id])) };
  net = network(shape, Object.fromEntries(unpacked));
  postMessage({ opened: true });
  await check(known);
}
onmessage = ({ data }) => {
  if (data.open) open(data.open).catch((error) => postMessage({ damaged: error.message }));
  else if (data.cancel) running.delete(data.cancel);
  else run(data);
};
