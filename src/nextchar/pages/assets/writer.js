// A text that a model continues in place: the same on the page of `nextchar serve` and in an exported file.
//
//   const made = writer(engine, { remember: () => {}, buttons: [] });   after readPalette() of colours.js; buttons: put after its own
//   document.body.append(made.element);
//   made.open(state)    show a state: strings, as of made.state(); what is left out keeps its default
//   made.state() -> { model, text, temperature, minp, seed, length, stop }   strings for the address; remember() says they changed
//   made.models()       engine.models has changed
//   made.text()         what it shows
//   made.stop()         end what is being generated
//
// The engine knows where models run:
//
//   engine.models -> [{ name, units: "characters" | "bytes", characters: size of the vocabulary,
//                       alphabet: string of all known characters or null, layers, hidden, cell }]
//   engine.generate({ model: name, prompt, length, temperature, minP, topK, topP, seed, stop: [strings], alternatives: count,
//                     notice: (sentence or "") => {} }, signal) -> async iterator of steps, one for each character:
//                     { text, logprob, alternatives: [[text, logprob], ...] }   natural logarithms, at temperature 1,
//                     without filters; likeliest first. Aborted by signal, it ends or throws an AbortError.
//                     length 1 and alternatives are also used to ask what may follow a text.
//   engine.score({ model, text, alternatives, notice }, signal) -> promise of an array of the same steps, one for each
//                     character of the text, the first one predicted from START
//   What fails throws an Error whose message is a sentence to show. notice tells what it waits for.
//
// Scripts: WRITER of page.py, in its order; style: writer.css.
const ALTERNATIVES = 8, SCORED = 30000, ADDRESSED = 3000, WRITTEN = 20000; // shown at a place; the longest text that is scored, that is kept in the address, that is written at once
const PACES = { slow: 30, readable: 150, "as fast as it can": Infinity }; // characters per second
const DEFAULTS = { text: "", temperature: "1", minp: "0", seed: "1", length: "500", stop: "", pace: "readable" };
const PLAIN = { "‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " ", "\t": "    ", "\r": "" };
const bitsOf = ({ logprob }) => -logprob / Math.LN2;
const share = (logprob) => { const p = 100 * Math.exp(logprob); return p < 0.1 ? "< 0.1 %" : `${p.toFixed(p < 9.95 ? 1 : 0)} %`; };
const aloud = (letter) => ({ " ": "space", "\n": "line end", "\t": "tab" })[letter] ?? letter;
const perCharacter = (cells, model) => `${(cells.reduce((sum, cell) => sum + bitsOf(cell), 0) / cells.length).toFixed(2)} bits per character over ${number(cells.length)} characters `
  + `(0 is certain; a uniform guess over ${model.characters} ${model.units} is ${Math.log2(model.characters).toFixed(2)}; lower is better).`;

// A control with its value beside its name.
function slider(name, { min, max, step, value, digits = 2, note = "" }, changed) {
  const made = element("label", undefined, { class: "slider" }), shown = element("output");
  const input = element("input", undefined, { type: "range", min, max, step, "aria-label": name });
  input.value = value;
  const tell = () => { shown.textContent = Number(input.value).toFixed(digits); };
  input.addEventListener("input", () => { tell(); changed(); });
  tell();
  made.append(element("span", name), shown, input, ...(note ? [element("small", note)] : []));
  return { element: made, get value() { return input.value; }, set value(given) { input.value = given; tell(); } };
}
function field(name, input) {
  const made = element("label", undefined, { class: "field" });
  made.append(element("span", name), input);
  return made;
}
function button(name, does, attributes = {}) {
  const made = element("button", name, { type: "button", ...attributes });
  made.addEventListener("click", does);
  return made;
}
function options(select, names, chosen) {
  select.replaceChildren(...names.map((name) => element("option", name, { value: name })));
  if (names.includes(chosen)) select.value = chosen;
}
const temperatureSlider = (changed) => slider("Temperature", { min: 0, max: 2, step: 0.05, value: 1, note: "lower: safer, and repeats itself; higher: more varied, with more errors" }, changed);
const minPSlider = (changed) => slider("Min-p", { min: 0, max: 0.5, step: 0.01, value: 0, note: "leaves out what is less than this many times as likely as the likeliest" }, changed);
function surpriseLegend() {
  const made = element("p", "Colour: how much each character surprised the model: ", { class: "legend" });
  for (const bits of [0, LARGE / 4, LARGE / 2, LARGE]) {
    const swatch = element("span", bits ? (bits < LARGE ? String(bits) : `${bits} bits or more`) : "0: certain");
    tint(swatch, surprise(bits));
    made.append(swatch);
  }
  return made;
}
// A letter with its probability, which is its colour, too.
function choice(letter, logprob, name = "button") {
  const made = element(name, undefined, { ...(name === "button" && { type: "button" }), "aria-label": `${aloud(letter)}, ${share(logprob)}` });
  const glyph = element("bdo", visible(letter), { class: "letter" });
  tint(glyph, green(Math.exp(logprob)));
  made.append(glyph, share(logprob));
  return made;
}
const frame = () => new Promise((done) => requestAnimationFrame(done));
// Generates, and shows characters at a pace: show(steps) is called at most once for each picture of the screen.
async function generated(engine, options, signal, pace, show) {
  const pending = [];
  let ended = false, failure = null;
  (async () => {
    try {
      for await (const step of engine.generate(options, signal)) pending.push(step);
    } catch (error) {
      failure = error;
    }
    ended = true;
  })();
  for (let credit = 0, last = performance.now(); !signal.aborted && !(ended && !pending.length);) {
    await frame();
    const now = performance.now();
    credit = Math.min(credit + ((now - last) * pace() / 1000 || 0), pending.length); // at one time, Infinity times 0 is no number
    last = now;
    const count = Math.floor(credit);
    credit -= count;
    if (count && !signal.aborted) show(pending.splice(0, count));
  }
  if (failure && !signal.aborted) throw failure;
}
// What a model does not know of a text: a sentence and a remedy, or null.
function unknown(text, model) {
  if (!model.alphabet) return null;
  const known = new Set(model.alphabet), found = [...text].filter((letter) => !known.has(letter));
  if (!found.length) return null;
  const each = [...new Set(found)], shown = each.slice(0, 12).map(aloud).join(" ");
  const nearest = (letter) => [...(PLAIN[letter] ?? letter.normalize("NFKD"))].filter((part) => known.has(part)).join("");
  return {
    message: `${model.name} does not know ${shown}${each.length > 12 ? ` and ${each.length - 12} others` : ""} : not in the text that it was trained on.`,
    mended: () => [...text].map((letter) => (known.has(letter) ? letter : nearest(letter))).join(""),
  };
}

function writer(engine, { remember = () => {}, buttons = [] } = {}) {
  const home = element("div", undefined, { class: "writer" });
  const model = element("select", undefined, { "aria-label": "Model" });
  const write = button("Write", () => (running ? stop() : start()), { class: "main", title: "Ctrl-Enter" });
  const another = button("Another", again, { title: "Replace what was written last by another text, with the next seed" });
  const score = button("Score", scoreText, { title: "Colour the whole text by how much each character surprises the model" });
  const undo = button("Undo", () => step(past, future), { title: "Ctrl-Z" }), redo = button("Redo", () => step(future, past), { title: "Ctrl-Shift-Z" });
  const summary = element("output", "", { class: "soft" }), fault = element("div", undefined, { role: "alert", class: "fault" });
  const temperature = temperatureSlider(adjust), minP = minPSlider(adjust);
  const input = (attributes) => element("input", undefined, attributes);
  const seed = input({ type: "number", min: 0, max: 2147483647, step: 1 }), length = input({ type: "number", min: 1, max: WRITTEN, step: 1 });
  const until = input({ type: "text", size: 10, placeholder: "nothing", autocomplete: "off", spellcheck: "false" }), pace = element("select");
  const colours = input({ type: "checkbox", checked: "" });
  options(pace, Object.keys(PACES));
  let running = null, past = [], future = [], typed = 0, begun = null, restart = 0, looking = null;

  const text = editor({
    label: "Text", placeholder: "Type how a text begins and press Write, or paste one and press Score.",
    colour: (cell) => (cell.logprob !== undefined && colours.checked ? surprise(bitsOf(cell)) : null),
    title: (cell) => `${aloud(cell.text)}: ${share(cell.logprob)}, ${bitsOf(cell).toFixed(1)} bits`,
    editing() {
      stop();
      hide();
      if (performance.now() - typed > 1000) keep();
      typed = performance.now();
    },
    changed() { begun = null; complain(null); tell(); remember(); },
    chosen: alternatives, left: hide,
  });
  const chosenModel = () => engine.models.find(({ name }) => name === model.value) ?? engine.models[0];
  const request = () => ({ model: chosenModel().name, temperature: Number(temperature.value), minP: Number(minP.value), topK: 0, topP: 1,
    stop: until.value ? [until.value.replaceAll("\\n", "\n").replaceAll("\\t", "\t")] : [], notice: (words) => { if (words) summary.textContent = words; } });

  function keep() {
    past.push(text.cells.slice());
    if (past.length > 60) past.shift();
    future = [];
    enable();
  }
  function step(from, to) {
    stop();
    hide();
    if (!from.length) return;
    to.push(text.cells.slice());
    text.set(from.pop());
    begun = null;
    typed = 0;
    complain(null);
    tell();
    remember();
  }
  function enable() {
    Object.assign(undo, { disabled: !past.length });
    Object.assign(redo, { disabled: !future.length });
    another.disabled = begun === null || Boolean(running);
    score.disabled = Boolean(running) || !text.cells.length;
    write.textContent = running ? "Stop" : "Write";
  }
  function tell(words) {
    const known = text.cells.filter((cell) => cell.logprob !== undefined);
    summary.textContent = words ?? (known.length && chosenModel() ? perCharacter(known, chosenModel()) : "");
    enable();
  }
  function complain(error, mended) {
    fault.hidden = !error;
    fault.replaceChildren(...(error ? [error.message] : []));
    if (mended) fault.append(button("Replace or leave out", () => {
      keep();
      text.set(letters(mended()));
      complain(null);
      tell();
      remember();
    }));
  }
  function refused(words = text.text()) {
    const found = unknown(words, chosenModel());
    if (found) complain(found, found.mended);
    return Boolean(found);
  }
  // Runs a task that a press of Stop ends; only one at a time.
  async function run(task) {
    stop();
    hide();
    complain(null);
    const mine = new AbortController();
    running = mine;
    summary.setAttribute("aria-live", "off"); // it counts characters
    enable();
    try {
      await task(mine.signal);
    } catch (error) {
      if (!mine.signal.aborted) complain(error);
    }
    if (running === mine) stop();
  }
  function stop() {
    const ended = running;
    clearTimeout(restart);
    adjust.now = running = null;
    if (!ended) return enable();
    ended.abort();
    summary.setAttribute("aria-live", "polite");
    tell();
    remember();
  }
  async function start() {
    if (refused()) return;
    keep();
    begun = null;
    await go();
  }
  async function go() {
    await run(async (signal) => {
      const seeded = Math.abs(Math.round(Number(seed.value))), from = text.cells.length, count = Math.min(WRITTEN, Math.max(1, Math.round(Number(length.value)) || 500));
      begun ??= from;
      for (let done = 0; done < count && !signal.aborted; done = text.cells.length - from) {
        // A slider that moves ends the request, and the next one goes on from what is shown.
        const part = new AbortController(), end = () => part.abort();
        signal.addEventListener("abort", end);
        adjust.now = end;
        await generated(engine, { ...request(), prompt: text.text(), length: count - done, seed: seeded + done, alternatives: ALTERNATIVES }, part.signal,
          () => PACES[pace.value], (steps) => {
            text.append(steps);
            summary.textContent = `${number(text.cells.length - from)} of ${number(count)} characters`;
          });
        adjust.now = null;
        signal.removeEventListener("abort", end);
        if (!part.signal.aborted) break; // a stop string, or all of it
      }
    });
  }
  function adjust() {
    remember();
    clearTimeout(restart);
    restart = setTimeout(() => adjust.now?.(), 120);
  }
  function again() {
    seed.value = (Number(seed.value) + 1) % 2147483648;
    stop();
    keep();
    text.set(text.cells.slice(0, begun));
    go();
  }
  async function scoreText() {
    if (refused()) return;
    if (text.cells.length > SCORED) {
      complain({ message: `Texts of up to ${number(SCORED)} characters are coloured here, and this one has ${number(text.cells.length)}; nextchar evaluate reads longer ones.` });
      return;
    }
    await run(async (signal) => {
      tell(`Reading ${number(text.cells.length)} characters`);
      const { model: name, notice } = request();
      const steps = await engine.score({ model: name, text: text.text(), alternatives: text.cells.length > 10000 ? 0 : ALTERNATIVES, notice }, signal);
      if (signal.aborted) return;
      keep();
      text.set(steps);
      begun = null;
    });
  }
  function hide() {
    looking?.abort();
    looking = null;
    text.mark(-1);
    text.under(-1);
  }
  async function alternatives(t, focus) {
    hide();
    if (refused(text.text(t))) return;
    const cell = text.cells[t];
    let found = cell?.alternatives;
    if (!found?.length) {
      looking = new AbortController();
      const { signal } = looking;
      try {
        for await (const step of engine.generate({ ...request(), prompt: text.text(t), length: 1, seed: 1, stop: [], alternatives: ALTERNATIVES }, signal)) found = step.alternatives;
      } catch (error) {
        if (!signal.aborted) complain(error);
      }
      if (signal.aborted || !found?.length) return;
      if (cell?.logprob !== undefined && !found.some(([letter]) => letter === cell.text)) found = [...found, [cell.text, cell.logprob]];
    }
    const shown = element("div"), head = element("p"), list = element("div", undefined, { class: "choices", role: "group", "aria-label": "Alternatives" });
    if (cell?.logprob !== undefined) head.append(element("b", visible(cell.text)), ` had ${share(cell.logprob)}: ${bitsOf(cell).toFixed(1)} bits of surprise. `);
    head.append(cell ? "Choose another, and the text goes on from there:" : "What may come next:");
    for (const [letter, logprob] of found) {
      const made = choice(letter, logprob);
      made.setAttribute("aria-current", letter === cell?.text);
      made.addEventListener("click", () => branch(t, letter, logprob, found));
      list.append(made);
    }
    list.addEventListener("keydown", (event) => {
      const next = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], all = [...list.children];
      if (next) all[(all.indexOf(document.activeElement) + next + all.length) % all.length].focus();
      else if (event.key === "Escape") { hide(); text.area.focus(); text.goTo(t); } else return;
      event.preventDefault();
    });
    shown.append(head, list);
    text.mark(t);
    text.under(t, shown);
    if (focus) list.firstElementChild.focus();
  }
  function branch(t, letter, logprob, found) {
    stop();
    keep();
    text.set([...text.cells.slice(0, t), { text: letter, logprob, alternatives: found }]);
    begun = null;
    go();
  }

  const bar = element("div", undefined, { class: "bar" }), sliders = element("div", undefined, { class: "sliders" });
  const more = element("details", undefined, { class: "options" }), row = element("div", undefined, { class: "bar" });
  const modelField = field("Model", model), colourField = element("label");
  colourField.append(colours, " colour by surprise");
  bar.append(modelField, write, another, score, undo, redo, ...buttons);
  sliders.append(temperature.element, minP.element);
  row.append(field("Seed", seed), field("Length", length), field("Stop at", until), field("Pace", pace), colourField);
  more.append(element("summary", "More: seed, length, stop, pace"), row,
    element("p", "The same seed gives the same text. Length: how many characters are written at once. Stop at: a text that ends it; \\n is a line end.", { class: "soft" }));
  const legend = surpriseLegend();
  home.append(bar, fault, text.element, summary, sliders, legend,
    element("p", "Choose a coloured character to see what else could stand there. Alt-Down does the same at the cursor, also in a text of your own.", { class: "soft" }), more);
  fault.hidden = true;
  home.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey, letter = event.key.toLowerCase();
    if (control && event.key === "Enter") running ? stop() : start();
    else if (control && event.target === text.area && letter === "z") event.shiftKey ? step(future, past) : step(past, future);
    else if (control && event.target === text.area && letter === "y") step(future, past);
    else return;
    event.preventDefault();
  });
  text.area.addEventListener("beforeinput", (event) => {
    const which = { historyUndo: [past, future], historyRedo: [future, past] }[event.inputType];
    if (!which) return;
    event.preventDefault();
    step(...which);
  });
  for (const each of [seed, length, until, pace]) each.addEventListener("change", remember);
  colours.addEventListener("change", () => { legend.hidden = !colours.checked; text.paint(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); text.paint(); });
  model.addEventListener("change", () => {
    stop();
    hide();
    complain(null);
    if (text.cells.some((cell) => cell.logprob !== undefined)) text.set(letters(text.text())); // the colours were the other model's
    tell();
    remember();
  });

  const inputs = { temperature, minp: minP, seed, length, stop: until, pace };
  return {
    element: home, stop, text: () => text.text(),
    open(state = {}) {
      stop();
      hide();
      for (const [name, each] of Object.entries(inputs)) each.value = state[name] ?? DEFAULTS[name];
      if (!pace.value) pace.value = DEFAULTS.pace;
      options(model, engine.models.map(({ name }) => name), state.model);
      modelField.hidden = engine.models.length < 2;
      let kept = "";
      try { kept = sessionStorage.getItem("nextchar-text") ?? ""; } catch { /* a page without storage */ }
      if ((state.text ?? kept) !== text.text()) text.set(letters(state.text ?? kept)); // otherwise its colours stay
      begun = null;
      tell();
    },
    state() {
      const whole = text.text(), long = whole.length > ADDRESSED;
      try {
        if (long) sessionStorage.setItem("nextchar-text", whole);
        else sessionStorage.removeItem("nextchar-text");
      } catch { /* a page without storage */ }
      const values = Object.fromEntries(Object.entries(inputs).map(([name, each]) => [name, each.value === DEFAULTS[name] ? "" : each.value]));
      return { model: model.value, text: long ? "" : whole, ...values };
    },
    models() {
      options(model, engine.models.map(({ name }) => name), model.value);
      modelField.hidden = engine.models.length < 2;
      enable();
    },
  };
}
