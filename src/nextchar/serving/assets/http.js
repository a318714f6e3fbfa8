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
      if (response.ok) return response;
      const told = await response.json().catch(() => ({}));
      if (response.status !== 401) {
        throw new Problem(sentence(told.error?.message ?? `the server answered ${response.status}`), response.status, Number(response.headers.get("retry-after")));
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
