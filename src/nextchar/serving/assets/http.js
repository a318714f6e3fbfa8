// Requests to the server of this page, with its key. All errors are a Problem, whose message is a sentence to show.
//
//   await server.json("/api/...", { body, method, signal }) -> object      body: an object, sent as JSON (POST); a Blob or File as it is
//   for await (const event of server.events(path, options)) ...            the objects of server-sent events; an error among them is thrown
//   await server.request(path, options) -> Response
//   server.models -> [{ name, units, characters, alphabet, layers, hidden, cell }]   as of the last await server.refresh()
class Problem extends Error {
  constructor(message, status = 0, wait = 0) {
    super(message);
    Object.assign(this, { status, wait });
  }
}
const KEY = "nextchar-key";

function askKey(wrong) {
  const dialog = $("key"), form = dialog.querySelector("form"), input = form.querySelector("input");
  form.querySelector("[role=alert]").textContent = wrong ? "That is not the key." : "";
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    dialog.oncancel = (event) => event.preventDefault(); // without the key there is nothing to see
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, input.value);
      input.value = "";
      dialog.close();
      done();
    };
  });
}

const server = {
  models: [],
  asking: null, // several requests wait for one answer
  async request(path, { body, method = body === undefined ? "GET" : "POST", signal, headers = {} } = {}) {
    for (;;) {
      const key = sessionStorage.getItem(KEY), raw = body instanceof Blob;
      const sent = { ...(key && { authorization: `Bearer ${key}` }), ...(body !== undefined && !raw && { "content-type": "application/json" }), ...headers };
      let response;
      try {
        response = await fetch(path, { method, signal, headers: sent, body: body === undefined || raw ? body : JSON.stringify(body), cache: "no-store" });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Problem("The server does not answer. Start it again with nextchar serve; this page then goes on.");
      }
      $("notice").hidden = true; // of an answer that did not come
      if (response.ok) return response;
      const refusal = await response.json().catch(() => ({}));
      if (response.status !== 401) {
        throw new Problem(sentence(refusal.error?.message ?? `the server answered ${response.status}`), response.status, Number(response.headers.get("retry-after")));
      }
      if (key === sessionStorage.getItem(KEY)) {
        server.asking ??= askKey(key !== null).finally(() => { server.asking = null; });
        await server.asking;
      }
    }
  },
  async json(path, options) {
    const response = await server.request(path, options);
    return response.status === 204 ? null : response.json();
  },
  async *events(path, options) {
    const reader = (await server.request(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((error) => {
          if (error.name === "AbortError") throw error;
          throw new Problem("The connection to the server broke off.");
        });
        if (done) return;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
          const line = part.split("\n").filter((each) => each.startsWith("data:")).map((each) => each.slice(5).trim()).join("\n");
          if (!line || line === "[DONE]") continue;
          const event = JSON.parse(line);
          if (event.error) throw new Problem(sentence(event.error.message), event.error.code === "shutdown" ? 503 : 500);
          yield event;
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  },
  async refresh() {
    const { data: listed } = await server.json("/v1/models");
    server.models = listed.map(({ id, units, characters, alphabet, layers, hidden, cell }) => ({ name: id, units, characters, alphabet, layers, hidden, cell }));
    return server.models;
  },
};
const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;

// A promise that is kept after some seconds, or broken with the signal.
const pause = (seconds, signal) => new Promise((done, failed) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason); }, { once: true });
});

// The engine of writer.js, on this server.
const engine = {
  get models() { return server.models; },
  async *generate({ model, prompt, length, temperature = 1, minP = 0, topK = 0, topP = 1, seed, stop = [], alternatives = 0, notice }, signal) {
    const body = { model, prompt, max_tokens: length, temperature, min_p: minP, top_k: topK, top_p: topP, seed, stop, logprobs: alternatives, stream: true };
    const steps = stepper(model);
    for await (const { choices } of patiently(() => server.events("/v1/completions", { body, signal }), notice, signal)) {
      yield* steps(choices[0].logprobs ?? {}, choices[0].finish_reason);
    }
  },
  async score({ model, text, alternatives = 0, notice }, signal) {
    const body = { model, prompt: text, max_tokens: 0, echo: true, logprobs: alternatives };
    const ask = async function* () { yield await server.json("/v1/completions", { body, signal }); };
    for await (const { choices } of patiently(ask, notice, signal)) return [...stepper(model)(choices[0].logprobs, true)];
  },
};
// Yields what ask() yields; a server that has too much to do is asked again.
async function* patiently(ask, notice, signal) {
  for (;;) {
    try {
      yield* ask();
      return;
    } catch (problem) {
      if (problem.status !== 429) throw problem;
      notice?.("The server has too many texts to write. This one waits.");
      await pause(problem.wait || 1, signal);
    }
  }
}
// Returns a function from the tokens of a reply, and whether they are the last, to steps. Bytes of one character come as one step.
function stepper(name) {
  const decoder = server.models.find((model) => model.name === name)?.units === "bytes" && new TextDecoder("utf-8", { ignoreBOM: true });
  const list = (top) => Object.entries(top).filter(([token]) => !token.startsWith("bytes:")).sort(([, one], [, other]) => other - one);
  let before = 0, first = null; // of the bytes of a character that is not complete
  return function* ({ tokens = [], token_logprobs: logprobs, top_logprobs: tops } = {}, last) {
    for (const [k, token] of tokens.entries()) {
      if (!decoder) {
        yield { text: token, logprob: logprobs[k], alternatives: list(tops[k]) };
        continue;
      }
      const raw = /^bytes:\\x([0-9a-f]{2})$/.exec(token), byte = raw ? parseInt(raw[1], 16) : token.charCodeAt(0);
      const found = [...decoder.decode(Uint8Array.of(byte), { stream: true })];
      // Bytes that are no character become the replacement character, before a byte that is one.
      for (const text of found.slice(0, -1)) {
        yield { text, logprob: before, alternatives: first ?? [] };
        [before, first] = [0, null];
      }
      before += logprobs[k];
      first ??= list(tops[k]);
      if (!found.length) continue;
      yield { text: found.at(-1), logprob: before, alternatives: first };
      [before, first] = [0, null];
    }
    if (last && decoder) for (const text of decoder.decode()) yield { text, logprob: before, alternatives: first ?? [] };
  };
}
