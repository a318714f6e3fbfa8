// The engine that pages/assets/writer.js asks, in a worker of this page; besides, engine.neurons and engine.look.
const engine = (() => {
  const { codes, bytes } = data.engine;
  const character = (id) => (bytes ? String.fromCharCode(codes[id]) : String.fromCodePoint(codes[id]));
  const worker = new Worker(URL.createObjectURL(new Blob([data.worker], { type: "text/javascript" })));
  const calls = new Map();
  let count = 0, resolve, reject, settle, refuse;
  const opened = new Promise((done, failed) => { [resolve, reject] = [done, failed]; });
  const checked = new Promise((done, failed) => { [settle, refuse] = [done, failed]; });
  for (const promise of [opened, checked]) promise.catch(() => {}); // shown once, by the page
  const fail = (sentence) => { for (const each of [reject, refuse]) each(new Error(sentence)); };
  worker.onerror = (event) => fail(`This browser cannot run the model: ${event.message || "its worker does not start"}.`);
  worker.onmessage = ({ data: sent }) => {
    if (sent.opened) resolve();
    else if (sent.checked) settle(sent.checked);
    else if (sent.damaged) fail("This file is damaged: its weights cannot be unpacked. Download or export it again.");
    else calls.get(sent.call)?.(sent);
  };
  worker.postMessage({ open: data.engine });

  async function* ask(task, options, signal, notice = () => {}) {
    notice("The model is being opened.");
    await opened;
    notice("");
    const call = ++count, queue = [];
    let wake = () => {};
    const arrive = (sent) => { queue.push(sent); wake(); };
    const abort = () => arrive({ done: true });
    calls.set(call, arrive);
    signal?.addEventListener("abort", abort);
    if (!signal?.aborted) worker.postMessage({ call, task, ...options });
    try {
      while (!signal?.aborted) {
        while (!queue.length) await new Promise((done) => { wake = done; });
        const { steps, error, done } = queue.shift();
        if (error) throw new Error(error);
        if (steps && !performance.getEntriesByName("first step").length) performance.mark("first step");
        for (const step of steps ?? []) if (!signal?.aborted) yield step;
        if (done) return;
      }
    } finally {
      calls.delete(call);
      signal?.removeEventListener("abort", abort);
      worker.postMessage({ cancel: call });
    }
  }
  // With the characters of ids. Bytes of one character come as one step; a byte of it alone is no alternative.
  async function* named(steps) {
    const decoder = new TextDecoder();
    let waiting = null;
    for await (const { id, logprob, alternatives } of steps) {
      const text = bytes ? decoder.decode(Uint8Array.of(codes[id]), { stream: true }) : character(id);
      const offered = alternatives.filter(([other]) => !bytes || codes[other] < 128).map(([other, its]) => [character(other), its]);
      waiting = { text, logprob: (waiting?.logprob ?? 0) + logprob, alternatives: waiting?.alternatives ?? offered };
      if (!text) continue;
      yield waiting;
      waiting = null;
    }
    if (waiting) yield { ...waiting, text: decoder.decode() };
  }
  async function all(steps, notice = () => {}) {
    const found = [];
    for await (const step of steps) {
      found.push(step);
      if (found.length % 500 === 0) notice(`${number(found.length)} characters are read.`);
    }
    return found;
  }
  const random = () => Math.floor(Math.random() * 2 ** 31);
  return {
    models: [data.model],
    opened,
    checked,
    neurons: data.neurons,
    generate: ({ prompt, seed, notice, length, temperature, minP, topK, topP, stop, alternatives }, signal) =>
      named(ask("generate", { text: prompt, seed: String(seed ?? random()), length, temperature, minP, topK, topP, stop, alternatives }, signal, notice)),
    score: ({ text, alternatives, notice }, signal) => all(named(ask("score", { text, alternatives }, signal, notice)), notice),
    // What engine.neurons hold after each of the last characters of a text (bytes, for a model of bytes): [value, ...] from -1 to 1.
    look: async (text, most = Infinity) => (await all(ask("look", { text, most }))).map(({ neurons }) => neurons),
  };
})();
