// The tab Look: a text coloured by the value of one neuron, and what the model writes while that neuron is held. The object is explained in shell.js.
const watcher = {
  // An engine as in writer.js, whose steps have values: { "0:48": 0.97 }. text: read after the prompt, and part of what comes. clamp: { unit, value }.
  async *generate({ model, prompt, text = "", length = 0, temperature, seed, units, clamp, notice }, signal) {
    const body = { model, prompt, text, max_tokens: length, temperature, seed, units, clamp };
    let waiting = 0; // bytes of one character come as one step
    for await (const part of patiently(() => server.events("/api/neurons/text", { body, signal }), notice, signal)) {
      for (const [k, letter] of (part.letters ?? []).entries()) {
        waiting += part.logprobs[k];
        if (!letter) continue;
        yield { text: letter, logprob: waiting, values: Object.fromEntries(units.map((unit) => [unit, part.values[unit][k]])) };
        waiting = 0;
      }
    }
  },
};

tabs.look = (() => {
  const FIRST = { temperature: "1", seed: "1", length: "300" }, READ = 20000, UNITS = 16, AGAIN = 0.7, KEPT = "nextchar-look";
  const FASTEST = () => PACES["as fast as it can"];
  const HOW = "The number tells how well, on text that the search did not see: balanced accuracy (0.5 is chance, 1 is always right), or correlation (r) with a number.";
  const boxes = {}, controls = {}, known = new Map(); // what is known of the neurons of each model
  let text, model, modelField, list, about, any, fault, summary, value, name, legend, go, another, hold, slide, free, ends, compared;
  let unit = "", held = null, begun = null, running = null, reading = null, comparing = null, asking = null, timer = 0;

  const chosenModel = () => server.models.find((each) => each.name === model.value) ?? server.models[0];
  const found = () => known.get(model.value) ?? { neurons: [], text: "", message: "" };
  const wanted = () => [...new Set([unit, ...found().neurons.map((each) => each.unit)])].filter(Boolean).slice(0, UNITS);
  const request = () => ({ model: chosenModel().name, temperature: Number(controls.temperature.value), seed: Number(controls.seed.value), units: wanted(), notice });
  const shown = (v) => v.toFixed(2).replace("-", "−");
  const notice = (words) => { summary.textContent = words; };
  const tell = (cell) => {
    const there = cell?.values && unit in cell.values;
    value.textContent = there ? `After “${aloud(cell.text)}”: ${shown(cell.values[unit])}` : "Point at a character, or tap it, to see the value.";
  };

  function build(panel) {
    const home = element("div", undefined, { class: "look" }), side = element("div", undefined, { class: "writer" }), main = element("div", undefined, { class: "writer" });
    model = element("select");
    modelField = field("Model", model);
    list = element("div", undefined, { class: "neurons", role: "group", "aria-label": "Neurons" });
    about = element("p", "", { class: "soft", role: "status" });
    any = element("input", undefined, { type: "text", size: 8, placeholder: "0:48", autocomplete: "off", spellcheck: "false", inputmode: "text" });
    side.append(modelField, element("h2", "Neurons, and what they follow"), list, about, field("Any other, LAYER:UNIT", any));

    text = editor({
      label: "Text", placeholder: "Type or paste a text. Its characters get the colour of the neuron's value.",
      colour: (cell) => (cell.values && unit in cell.values ? diverging(cell.values[unit]) : null),
      editing() { stop(); reading?.abort(); },
      changed() { begun = null; complain(null); enable(); remember(); soon(); },
      chosen: (t) => { text.mark(t < text.cells.length ? t : -1); tell(text.cells[t]); },
      left: () => text.mark(-1),
    });
    text.area.addEventListener("pointermove", (event) => { tell(text.cells[text.at(event)]); });
    name = element("h2", "");
    value = element("output", "", { class: "value" });
    legend = element("p", "Its value after each character was read: ", { class: "legend" });
    go = button("Write on", () => (running ? stop() : start()), { class: "main", title: "Ctrl-Enter" });
    another = button("Another", again, { title: "Replace what was written last by another text, with the next seed" });
    summary = element("output", "", { class: "soft" });
    fault = element("div", undefined, { role: "alert", class: "fault" });
    controls.temperature = temperatureSlider(settled);
    controls.seed = element("input", undefined, { type: "number", min: 0, max: 2147483647 });
    controls.length = element("input", undefined, { type: "number", min: 1, max: 5000 });
    const bar = element("div", undefined, { class: "bar" }), sliders = element("div", undefined, { class: "sliders" });
    bar.append(go, another, field("Seed", controls.seed), field("Length", controls.length), summary);

    hold = element("section", undefined, { class: "writer hold" });
    slide = element("input", undefined, { type: "range", "aria-label": "Value at which the neuron is held" });
    const track = element("div", undefined, { class: "track" });
    free = button("Let it free", release);
    ends = [element("small"), element("output", "free"), element("small")];
    track.append(...ends, slide);
    compared = element("p", "", { class: "soft", role: "status" });
    const top = element("div", undefined, { class: "bar" });
    top.append(track, free);
    hold.append(element("h2", "Hold it, and see what the model writes"), top, compared, ...["free", "held"].map(makeBox));
    slide.addEventListener("input", () => { held = Number(slide.value); settled(); });
    slide.addEventListener("pointerdown", () => { if (held === null) { held = Number(slide.value); settled(); } });

    sliders.append(controls.temperature.element);
    main.append(name, legend, value, fault, text.element, bar, sliders, hold);
    home.append(side, main);
    panel.append(home);
    any.addEventListener("change", byHand);
    model.addEventListener("change", () => { forget(); search(); remember(); });
    for (const each of [controls.seed, controls.length]) each.addEventListener("change", settled);
    home.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter") return;
      event.preventDefault();
      running ? stop() : start();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); paint(); });
  }
  function makeBox(which) {
    const made = element("div", undefined, { class: "box" }), head = element("div", undefined, { class: "bar" });
    const box = { made, title: element("b"), letters: element("bdo", undefined, { class: "coloured", tabindex: 0 }), cells: [], spans: [], key: "" };
    box.take = button("Take this text", () => {
      stop();
      const from = begun ?? text.cells.length;
      text.set([...text.cells.slice(0, from), ...box.cells]);
      begun = from;
      enable();
      remember();
    }, { title: "Put it at the end of the text above" });
    head.append(box.title, box.take);
    made.append(head, box.letters);
    box.letters.addEventListener("pointerover", ({ target }) => { if (target.t >= 0) tell(box.cells[target.t]); });
    boxes[which] = box;
    return made;
  }

  // --- Which neuron ---
  function listNeurons() {
    const { neurons, message, state } = found(), named = neurons.filter((each) => each.phrase), rest = neurons.filter((each) => !each.phrase);
    const one = (each) => {
      const made = button("", () => pick(each.unit), { class: "neuron", "aria-pressed": each.unit === unit });
      made.append(element("b", each.unit), ...(each.phrase ? [element("span", each.phrase)] : []));
      if (each.phrase) made.append(element("output", `${each.measure === "correlation" ? "r " : ""}${each.score.toFixed(2)}`, { title: `${each.measure}: ${each.score.toFixed(3)}` }));
      return made;
    };
    list.replaceChildren(...named.map(one));
    if (rest.length) {
      const more = element("details"), few = element("div", undefined, { class: "bar" });
      few.append(...rest.map(one));
      more.append(element("summary", "Without a name: those that matter most for what comes next"), few);
      more.open = !named.length || rest.some((each) => each.unit === unit);
      list.append(more);
    }
    about.textContent = `${message ? sentence(message) : ""} ${named.length ? HOW : state === "done" ? "No neuron of this model follows quotes, brackets, lines or words clearly better than random memories would." : ""}`;
  }
  // Asks for the neurons that are worth seeing until the server has found them; each time, as another model can have got the name.
  async function search() {
    asking?.abort();
    const mine = new AbortController(), asked = model.value;
    asking = mine;
    listNeurons();
    begin();
    try {
      for (;;) {
        const result = await server.json(`/api/neurons?model=${encodeURIComponent(asked)}`, { signal: mine.signal });
        if (mine.signal.aborted) return;
        if (result.state !== "searching") {
          if (known.has(asked) && JSON.stringify(known.get(asked)) !== JSON.stringify(result)) forget(); // it was trained further
          known.set(asked, result);
          break;
        }
        about.textContent = `Searching for neurons that follow quotes, brackets, lines or words: ${Math.round(result.seconds)} s so far. It takes some ten seconds, once for each model.`;
        await pause(AGAIN, mine.signal);
      }
    } catch (error) {
      if (!mine.signal.aborted) { about.textContent = ""; complain(error); }
      return;
    }
    begin();
    listNeurons();
  }
  // Shows the first neuron and an example, unless there is a neuron or a text already.
  function begin() {
    const { neurons, text: example } = found();
    if (!unit && neurons.length) unit = neurons[0].unit;
    if (!text.cells.length && example) text.set(letters(example));
    choose();
    read();
    if (held !== null) compare();
  }
  function pick(next) {
    if (next !== unit) release();
    unit = next;
    choose();
    listNeurons();
    paint();
    read();
    remember();
  }
  function byHand() {
    const { layers, hidden } = chosenModel(), [, layer, place] = /^\s*(\d+)\s*:\s*(\d+)\s*$/.exec(any.value) ?? [];
    if (!any.value.trim()) return complain(null);
    if (layer === undefined || layer >= layers || place >= hidden) {
      return complain({ message: `There is no neuron ${any.value}: the first number is a layer, 0 to ${layers - 1}, and the second a unit, 0 to ${hidden - 1}.` });
    }
    complain(null);
    pick(`${Number(layer)}:${Number(place)}`);
  }
  function choose() {
    const mine = found().neurons.find((each) => each.unit === unit);
    name.textContent = unit ? `${unit} ${mine?.phrase ?? ""}` : "";
    legend.hidden = value.hidden = hold.hidden = !unit;
    const seen = [...text.cells, ...boxes.free.cells].flatMap((cell) => cell.values?.[unit] ?? []);
    const low = Math.min(mine?.low ?? Infinity, held ?? Infinity, ...seen), high = Math.max(mine?.high ?? -Infinity, held ?? -Infinity, ...seen);
    slide.disabled = !(high > low);
    if (slide.disabled) return;
    const [least, most] = [low, high].map((v) => Math.round(100 * v) / 100);
    Object.assign(slide, { min: least, max: most, step: 0.01 });
    slide.value = held ?? (least + most) / 2;
    ends[0].textContent = `${shown(low)}, lowest seen`;
    ends[2].textContent = `${shown(high)}, highest seen`;
    slide.style.background = `linear-gradient(to right, ${[least, (least + most) / 2, most].map((v) => css(diverging(v))).join(", ")})`;
    ends[1].textContent = held === null ? "free" : `held at ${shown(held)}`;
    slide.classList.toggle("free", held === null);
    free.disabled = held === null;
  }
  function paint() {
    legend.replaceChildren("Its value after each character was read: ", ...[-1, -0.5, 0, 0.5, 1].map((v) => {
      const swatch = element("span", v < 0 ? `−${-v}` : String(v));
      tint(swatch, diverging(v));
      return swatch;
    }));
    text.paint();
    tell(null);
    for (const box of Object.values(boxes)) box.spans.forEach((span, t) => colour(span, box.cells[t]));
    choose();
  }
  const colour = (span, cell) => {
    if (cell.values && unit in cell.values) tint(span, diverging(cell.values[unit]));
    else Object.assign(span.style, { background: "", color: "" });
  };

  // --- The text ---
  function complain(error, mended) {
    fault.hidden = !error;
    fault.replaceChildren(...(error ? [error.message] : []));
    if (mended) fault.append(button("Replace them by what is nearest, or leave them out", () => { text.set(letters(mended())); complain(null); read(); remember(); }));
  }
  function refused() {
    const missing = unknown(text.text(), chosenModel());
    if (missing) complain(missing, missing.mended);
    return Boolean(missing);
  }
  function enable() {
    go.textContent = running ? "Stop" : "Write on";
    another.disabled = begun === null || Boolean(running);
    go.disabled = !unit;
  }
  function soon() {
    clearTimeout(timer);
    timer = setTimeout(() => { read(); if (held !== null) compare(); }, 250);
  }
  // Gets the values of the characters that have none; what stands before them is not read again.
  async function read() {
    reading?.abort();
    enable();
    const first = unit ? text.cells.findIndex((cell) => !cell.values || !(unit in cell.values)) : -1;
    if (first < 0 || refused()) return;
    const prompt = text.text(first), rest = text.text().slice(prompt.length);
    if (text.cells.length - first > READ) return complain({ message: `Texts of up to ${number(READ)} characters are coloured here, and this one has ${number(text.cells.length)}; nextchar inspect reads longer ones.` });
    const mine = new AbortController();
    reading = mine;
    let t = first;
    try {
      await generated(watcher, { ...request(), prompt, text: rest }, mine.signal, FASTEST, (steps) => {
        for (const step of steps) text.cells[t++] = step;
        text.paint();
      });
      if (!mine.signal.aborted) choose();
    } catch (error) {
      if (!mine.signal.aborted) complain(error);
    }
  }
  function stop() {
    running?.abort();
    running = null;
    enable();
  }
  async function start() {
    stop();
    complain(null);
    if (!unit || refused()) return;
    const mine = new AbortController(), count = Math.max(1, Number(controls.length.value) || 300), from = text.cells.length;
    running = mine;
    begun = from;
    enable();
    try {
      await generated(watcher, { ...request(), prompt: text.text(), length: count }, mine.signal, () => PACES.readable, (steps) => {
        text.append(steps);
        notice(`${number(text.cells.length - from)} of ${number(count)} characters`);
      });
    } catch (error) {
      if (!mine.signal.aborted) complain(error);
    }
    if (running !== mine) return;
    stop();
    notice("");
    choose();
    remember();
    if (held !== null) compare();
  }
  function again() {
    controls.seed.value = (Number(controls.seed.value) + 1) % 2147483648;
    text.set(text.cells.slice(0, begun));
    start();
  }

  // --- The neuron held ---
  function settled() {
    remember();
    choose();
    clearTimeout(timer);
    if (held !== null) timer = setTimeout(compare, 120);
  }
  function release() {
    held = null;
    comparing?.abort();
    clearTimeout(timer);
    choose();
    showBoxes();
    remember();
  }
  function showBoxes() {
    for (const box of Object.values(boxes)) box.made.hidden = held === null;
    boxes.free.title.textContent = "Free";
    boxes.held.title.textContent = held === null ? "" : `${unit} held at ${shown(held)}`;
    if (held === null) compared.textContent = "The model writes on as if this neuron had one value all the time. Move the slider, from the lowest to the highest value that was seen.";
  }
  function add(box, steps) {
    for (const step of steps) {
      const span = letterSpan(step.text);
      span.t = box.cells.push(step) - 1;
      colour(span, step);
      box.spans.push(span);
      box.letters.append(span);
      if (step.text === "\n") box.letters.append("\n");
    }
    const { free, held: other } = boxes, both = Math.min(free.cells.length, other.cells.length);
    const parted = free.cells.findIndex((cell, t) => t < both && cell.text !== other.cells[t].text);
    for (const each of [free, other]) {
      each.letters.querySelector(".chosen")?.classList.remove("chosen");
      each.spans[parted]?.classList.add("chosen");
    }
    if (parted >= 0) compared.textContent = `Both begin where the text above ${begun === null ? "ends" : "went on"}, with the same random numbers; they part at character ${number(parted + 1)}.`;
    else if (both) compared.textContent = `The same so far: ${number(both)} characters.`;
  }
  // Writes both texts, each only if it is not there already.
  async function compare() {
    comparing?.abort();
    showBoxes();
    if (held === null || !unit || refused()) return;
    const mine = new AbortController(), options = { ...request(), prompt: text.text(begun ?? undefined), length: Math.max(1, Number(controls.length.value) || 300) };
    comparing = mine;
    await Promise.all(["free", "held"].map(async (which) => {
      const box = boxes[which], clamp = which === "held" ? { unit, value: held } : undefined;
      const key = JSON.stringify([options.model, options.prompt, options.seed, options.temperature, options.length, clamp]);
      if (box.key === key) return;
      box.key = "";
      let fresh = true; // the old text stays until the new one comes
      try {
        await generated(watcher, { ...options, clamp }, mine.signal, FASTEST, (steps) => {
          if (fresh) {
            [box.cells, box.spans, fresh] = [[], [], false];
            box.letters.replaceChildren();
          }
          add(box, steps);
        });
        if (!mine.signal.aborted) box.key = key;
      } catch (error) {
        if (!mine.signal.aborted) complain(error);
      }
    }));
  }

  function forget() {
    stop();
    reading?.abort();
    release();
    complain(null);
    [unit, begun] = ["", null];
    for (const box of Object.values(boxes)) box.key = "";
    text.set(text.text() === lastExample() ? [] : letters(text.text()));
  }
  const lastExample = () => [...known.values()].map((each) => each.text).find((each) => each === text.text());

  return {
    title: "Look",
    needsModel: true,
    open(panel, state) {
      if (!text) build(panel);
      else if (!state) {
        models();
        return search();
      }
      options(model, server.models.map((each) => each.name), state.model);
      modelField.hidden = server.models.length < 2;
      forget();
      for (const [key, each] of Object.entries(controls)) each.value = state[key] ?? FIRST[key];
      unit = /^\d+:\d+$/.test(state.unit ?? "") ? state.unit : "";
      let kept = "";
      try { kept = sessionStorage.getItem(KEPT) ?? ""; } catch { /* a page without storage */ }
      text.set(letters(state.text ?? kept));
      begun = state.from === undefined ? null : Math.min(Number(state.from) || 0, text.cells.length);
      held = state.hold === undefined || !unit ? null : Math.max(-1, Math.min(1, Number(state.hold) || 0));
      showBoxes();
      paint();
      search();
    },
    close() {
      stop();
      for (const each of [reading, comparing, asking]) each?.abort();
      clearTimeout(timer);
    },
    models,
    state() {
      const whole = text.text(), own = whole !== found().text, long = own && whole.length > ADDRESSED;
      try {
        if (long) sessionStorage.setItem(KEPT, whole);
        else sessionStorage.removeItem(KEPT);
      } catch { /* a page without storage */ }
      const values = Object.fromEntries(Object.entries(controls).map(([key, each]) => [key, each.value === FIRST[key] ? "" : each.value]));
      return { model: model.value, unit, hold: held === null ? "" : String(held), ...values, from: begun === null ? "" : String(begun), text: own && !long ? whole : "" };
    },
  };

  function models() {
    const before = model.value;
    options(model, server.models.map((each) => each.name), before);
    modelField.hidden = server.models.length < 2;
    if (model.value !== before) { forget(); search(); }
  }
})();
