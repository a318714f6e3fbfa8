// The tab Compare: one prompt and one seed, by two models or at two temperatures. The object is explained in shell.js.
tabs.compare = (() => {
  const FIRST = { prompt: "", seed: "1", length: "300" };
  const sides = [], controls = {};
  let running = null, timer = 0, written = false, parted = -1, at = -1, summary, fault, go;

  function makeSide(index) {
    const panel = element("div", undefined, { class: "side", role: "group", "aria-label": index ? "Right" : "Left" });
    const model = element("select"), text = element("bdo", undefined, { class: "coloured", tabindex: 0, role: "textbox", "aria-readonly": "true", "aria-multiline": "true", "aria-label": index ? "Right text" : "Left text" }), mean = element("p", "", { class: "soft" });
    const made = { index, panel, model, text, mean, temperature: temperatureSlider(changed), minP: minPSlider(changed), cells: [], spans: [] };
    made.modelField = field("Model", model);
    model.addEventListener("change", changed);
    text.addEventListener("click", (event) => event.target.t >= 0 && look(event.target.t));
    text.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !made.cells.length) return;
      event.preventDefault();
      look(Math.min(made.cells.length - 1, Math.max(0, at + step)));
    });
    made.place = element("div", undefined, { class: "place" });
    panel.append(made.modelField, made.temperature.element, made.minP.element, text, mean, made.place);
    return made;
  }
  function build(panel) {
    const bar = element("div", undefined, { class: "bar" }), row = element("div", undefined, { class: "sides" });
    controls.prompt = element("textarea", undefined, { rows: 2, placeholder: "How both texts begin; it may be empty.", spellcheck: "false", autocapitalize: "off", "aria-label": "Prompt" });
    controls.seed = element("input", undefined, { type: "number", min: 0, max: 2147483647 });
    controls.length = element("input", undefined, { type: "number", min: 1, max: 5000 });
    go = button("Write both", () => (running ? stop() : start()), { class: "main" });
    const other = button("Another seed", () => { controls.seed.value = (Number(controls.seed.value) + 1) % 2147483648; start(); });
    bar.append(go, other, field("Seed", controls.seed), field("Length", controls.length));
    fault = element("div", undefined, { role: "alert", class: "fault" });
    summary = element("output", "", { class: "soft" });
    sides.push(makeSide(0), makeSide(1));
    row.append(...sides.map((side) => side.panel));
    const home = element("div", undefined, { class: "writer" });
    home.append(element("p", "Both texts have the same prompt and the same random numbers, so that all that differs comes from the models and the sliders. A coloured character differs from the one at the same place on the other side; choose any to see what else could stand there.", { class: "soft" }),
      controls.prompt, bar, fault, summary, row);
    panel.append(home);
    for (const each of Object.values(controls)) each.addEventListener("change", changed);
    home.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter") return;
      event.preventDefault();
      start();
    });
  }
  const modelOf = (side) => server.models.find(({ name }) => name === side.model.value) ?? server.models[0];
  // Texts that are there are written again when something changes: it takes a moment.
  function changed() {
    remember();
    clearTimeout(timer);
    if (written) timer = setTimeout(start, 250);
  }
  function stop() {
    clearTimeout(timer);
    if (running) tell();
    running?.abort();
    running = null;
    go.textContent = "Write both";
  }
  function complain(message, mended) {
    fault.hidden = !message;
    fault.replaceChildren(message ?? "");
    if (mended) fault.append(button("Replace or leave out", () => { controls.prompt.value = mended(); start(); }));
  }
  function mark(t) {
    const [left, right] = sides;
    if (!left.cells[t] || !right.cells[t] || left.cells[t].text === right.cells[t].text) return;
    if (parted < 0) parted = t;
    tint(left.spans[t], diverging(-0.45));
    tint(right.spans[t], diverging(0.45));
  }
  function add(side, steps) {
    for (const step of steps) {
      const span = letterSpan(step.text), t = side.cells.push(step) - 1;
      span.t = t;
      side.spans.push(span);
      side.text.append(span);
      if (step.text === "\n") side.text.append("\n");
      mark(t);
    }
  }
  function look(t) {
    at = t;
    for (const side of sides) {
      const list = element("div", undefined, { class: "choices" }), cell = side.cells[t];
      side.text.querySelector(".chosen")?.classList.remove("chosen");
      side.spans[t]?.classList.add("chosen");
      side.place.replaceChildren();
      if (!cell) continue;
      for (const [letter, logprob] of cell.alternatives) {
        const made = choice(letter, logprob, "span");
        made.setAttribute("aria-current", letter === cell.text);
        list.append(made);
      }
      side.place.append(element("p", `${t === parted ? "Where they part, character" : "Character"} ${number(t + 1)}: what could stand there, before temperature and min-p`, { class: "soft" }), list);
    }
  }
  function tell() {
    const [left, right] = sides, both = Math.min(left.cells.length, right.cells.length);
    const differ = left.cells.slice(0, both).filter((cell, t) => cell.text !== right.cells[t].text).length;
    for (const side of sides) side.mean.textContent = side.cells.length ? perCharacter(side.cells, modelOf(side)) : "";
    if (!both) summary.textContent = "";
    else if (parted < 0) summary.textContent = `The same, character by character: ${number(both)} characters.`;
    else summary.textContent = `They part at character ${number(parted + 1)}; of ${number(both)}, ${number(differ)} differ.`;
  }
  async function start() {
    stop();
    complain(null);
    const prompt = controls.prompt.value;
    for (const side of sides) {
      const found = unknown(prompt, modelOf(side));
      if (found) return complain(found.message, found.mended);
    }
    const mine = new AbortController();
    running = mine;
    [written, parted, at] = [true, -1, -1];
    go.textContent = "Stop";
    summary.textContent = "";
    for (const side of sides) {
      side.mean.textContent = "";
      side.place.replaceChildren();
      [side.cells, side.spans] = [[], []];
      side.text.replaceChildren(element("b", prompt));
    }
    remember();
    const outcomes = await Promise.allSettled(sides.map((side) => generated(engine, {
      model: modelOf(side).name, prompt, length: Math.min(5000, Math.max(1, Math.round(Number(controls.length.value)) || 300)), seed: Math.abs(Math.round(Number(controls.seed.value))), temperature: Number(side.temperature.value),
      minP: Number(side.minP.value), alternatives: ALTERNATIVES, notice: (words) => { summary.textContent = words; },
    }, mine.signal, () => PACES.readable, (steps) => {
      add(side, steps);
      if (at < 0 && parted >= 0) look(parted);
    })));
    if (running !== mine) return;
    const failure = outcomes.find(({ reason }) => reason);
    if (failure) complain(failure.reason.message);
    stop();
  }
  function models(chosen) {
    const names = server.models.map(({ name }) => name);
    for (const side of sides) {
      options(side.model, names, chosen[side.index] ?? (side.model.value || names[Math.min(side.index, names.length - 1)]));
      side.modelField.hidden = names.length < 2;
    }
  }
  return {
    title: "Compare",
    needsModel: true,
    open(panel, state) {
      if (!sides.length) build(panel);
      if (!state) return models([]);
      stop();
      complain(null);
      models([state.left, state.right]);
      for (const [name, each] of Object.entries(controls)) each.value = state[name] ?? FIRST[name];
      const usual = server.models.length > 1 ? [0.8, 0.8] : [0.5, 1];
      for (const side of sides) {
        side.temperature.value = state[`temperature${side.index}`] ?? usual[side.index];
        side.minP.value = state[`minp${side.index}`] ?? 0;
      }
      written = false;
      if (state.written) start();
    },
    close: stop,
    models: () => models([]),
    state() {
      const values = Object.fromEntries(Object.entries(controls).map(([name, each]) => [name, each.value === FIRST[name] ? "" : each.value]));
      for (const side of sides) Object.assign(values, { [`temperature${side.index}`]: side.temperature.value, [`minp${side.index}`]: side.minP.value === "0" ? "" : side.minP.value });
      return { left: sides[0].model.value, right: sides[1].model.value, ...values, written: written ? "yes" : "" };
    },
  };
})();
