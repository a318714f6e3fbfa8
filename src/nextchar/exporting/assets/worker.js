// The worker of an exported page. Takes { open } once, then { call, task, ...options } and { cancel: call }; sends { opened },
// { checked } and, for every call, { call, steps } until { call, done } or { call, error }. A step is one character:
// { id, logprob, alternatives: [[id, logprob], ...], neurons: [value, ...] }.
const SLICE = 25; // milliseconds of work between two messages, in which others can arrive
const running = new Set();
let net, model;

async function inflate(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Type(await new Response(stream).arrayBuffer());
}
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

// What the chosen neurons hold: tanh of the cell of an lstm, the hidden state of the others.
function values({ memory }) {
  return model.neurons.map(({ layer, unit }) => {
    const held = memory[layer * model.shape.units + unit];
    return model.shape.cell === "lstm" ? Math.tanh(held) : held;
  });
}
function step(logits, id, alternatives) {
  const logprobs = logProbabilities(logits);
  const order = alternatives ? [...logprobs.keys()].sort((j, k) => logprobs[k] - logprobs[j] || j - k).slice(0, alternatives) : [];
  return { id, logprob: logprobs[id], alternatives: order.map((k) => [k, logprobs[k]]) };
}
// One text: yields each step after its character was read.
function* read(ids, alternatives) {
  const state = net.empty();
  let logits = net.read(state, net.size);
  for (const id of ids) {
    const made = step(logits, id, alternatives);
    logits = net.read(state, id);
    yield Object.assign(made, { neurons: values(state) });
  }
}
const endsWith = (ids, stop) => stop.length <= ids.length && stop.every((id, k) => ids[ids.length - stop.length + k] === id);
function* generate({ prompt = "", length, seed, stop = [], alternatives = 0, ...options }) {
  const state = net.empty(), key = streamKey(seed), stops = stopIds(stop);
  let logits = net.read(state, net.size), held = [];
  for (const id of encode(prompt)) {
    logits = net.read(state, id);
    yield null; // the prompt takes time, too
  }
  for (let place = 0; place < length; place++) {
    const made = step(logits, draw(logits, options, uniform(key, place)), alternatives);
    logits = net.read(state, made.id);
    held.push(Object.assign(made, { neurons: values(state) }));
    const ids = held.map((each) => each.id), found = stops.filter((each) => endsWith(ids, each));
    if (found.length) {
      held.length -= Math.max(...found.map((each) => each.length));
      break;
    }
    // What may be the beginning of a stop string is held back.
    const most = Math.max(0, ...stops.map((each) => {
      let size = Math.min(held.length, each.length - 1);
      while (size && !endsWith(ids, each.slice(0, size))) size--;
      return size;
    }));
    yield* held.splice(0, held.length - most);
  }
  yield* held;
}
const TASKS = {
  generate,
  *score({ text, alternatives = 0 }) { yield* read(encode(text), alternatives); },
};
async function run({ call, task, ...options }) {
  const pause = pauses();
  let steps = [], due = 0; // the first step is sent at once
  running.add(call);
  try {
    for (const made of TASKS[task](options)) {
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
  for (const { logprob } of read(ids, 0)) {
    largest = Math.max(largest, Math.abs(logprob - logprobs[place++]) || (Number.isFinite(logprob) ? 0 : Infinity));
    if (place % 8 === 0) await pause();
  }
  postMessage({ checked: { characters: place, largest } });
}
async function open({ shape, arrays, codes, bytes, neurons, known }) {
  const types = { table: Float32Array, bias: Float32Array, scales: Float32Array, head_bias: Float32Array, head_scales: Float32Array };
  const Weights = shape.whole ? Int8Array : Float32Array;
  const unpacked = await Promise.all(Object.entries(arrays).map(async ([name, text]) => [name, await inflate(text, types[name] ?? Weights)]));
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
