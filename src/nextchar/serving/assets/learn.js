// The tab Learn: a text is dropped, a training runs on the server, and its losses and samples are shown while it does. The object is
// explained in shell.js. All that is shown comes from the server, so a page that is loaded again, or a server that starts again, goes on.
tabs.learn = (() => {
  const MINUTES = [1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 480, 720];
  const API = "/api/trainings";
  const ENDS = {
    steps: "finished",
    time: "finished; the machine was slower than measured",
    patience: "finished; validation did not improve any more",
    text: "finished before its time: so short a text has been read often enough, more would only memorize it",
  };
  const ENCODINGS = [["utf-8", "UTF-8"], ["utf-16", "UTF-16"], ["cp1252", "Windows-1252"], ["latin-1", "Latin-1"], ["bytes", "none: read it as bytes"]];
  let made = null, chosen = "", source = null, trainings = [], limits = {}, folder = "runs", run = null, leaving = null, absent = false;

  const labelled = (words, inside) => {
    const label = element("label", `${words} `);
    label.append(inside);
    return label;
  };
  function pair(...inside) {
    const made = element("span", undefined, { class: "pair" });
    made.append(...inside);
    return made;
  }
  function select(options, attributes = {}) {
    const made = element("select", undefined, attributes);
    made.append(...options.map(([value, words]) => element("option", words, { value })));
    return made;
  }
  const size = (bytes) => (bytes < 1e6 ? `${number(Math.ceil(bytes / 1e3))} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const minutes = (count) => (count < 60 ? `${count} minute${count === 1 ? "" : "s"}` : `${count / 60} hour${count === 60 ? "" : "s"}`);
  const left = (seconds) => (seconds < 3600 ? clock(seconds) : `${Math.floor(seconds / 3600)}:${clock(seconds % 3600).padStart(5, "0")}`);
  const named = (file) => file.replace(/\.[^.]*$/, "").normalize("NFC").replace(/[^\p{L}\p{N}_]+/gu, "-").replace(/^[-_]+|-+$/g, "").slice(0, 60) || "text";

  // -- a new training ----------------------------------------------------------------------------------------------
  function form() {
    const whole = element("form", undefined, { class: "teach", "aria-label": "A new training" });
    const file = element("input", undefined, { type: "file", id: "learn-file" }), pick = element("label", "Choose a file", { class: "pick", for: "learn-file" });
    const corpora = select([["", "a named corpus …"]], { "aria-label": "named corpus" });
    const paste = element("textarea", undefined, { rows: 5, placeholder: "Paste a text here", "aria-label": "pasted text", hidden: "" });
    const zone = element("div", undefined, { class: "drop" }), ways = element("p", undefined, { class: "ways" });
    const about = element("p", "", { class: "about" }), name = element("input", undefined, { type: "text", id: "learn-name", maxlength: 60, autocomplete: "off", spellcheck: "false", required: "" });
    const slider = element("input", undefined, { type: "range", min: 0, max: MINUTES.length - 1, value: 3, "aria-label": "minutes" }), duration = element("output", minutes(5));
    const encoding = select(ENCODINGS), layers = select([["", "chosen (2)"], ["1", "1"], ["2", "2"], ["3", "3"]]);
    const hidden = select([["", "chosen"], ...[64, 128, 256, 512, 768].map((units) => [units, String(units)])]);
    const start = element("button", "Start learning", { type: "submit", class: "main", disabled: "" }), alert = element("p", "", { role: "alert", class: "alert" });
    const more = element("details"), time = element("p", undefined, { class: "time" });

    function take(given) {
      source = given;
      paste.hidden = !given?.pasted;
      if (given?.corpus === undefined) corpora.value = "";
      about.textContent = given ? given.about : "";
      if (given && given.name) name.value = given.name;
      start.disabled = !given;
      alert.textContent = "";
    }
    function takeFile(given) {
      if (!given) return;
      if (given.size > limits.bytes) return say(`${given.name} has ${size(given.size)}; the limit is ${size(limits.bytes)}.`);
      if (!given.size) return say(`${given.name} is empty, or a folder; drop one text file.`);
      take({ blob: given, name: named(given.name), about: `${given.name}: ${size(given.size)}` });
    }
    function say(words) {
      take(null);
      alert.textContent = words;
    }
    async function send(event) {
      event.preventDefault();
      const options = { name: name.value.trim(), minutes: MINUTES[slider.value], layers: layers.value, hidden: hidden.value, ...(source.corpus && { corpus: source.corpus }) };
      options[encoding.value === "bytes" ? "units" : "encoding"] = encoding.value;
      if (source.corpus || encoding.value === "utf-8") delete options.encoding;
      const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value !== ""));
      Object.assign(start, { disabled: true, textContent: "Checking the text …" });
      alert.textContent = "";
      try {
        const added = await server.json(`${API}?${query}`, { method: "POST", body: source.blob ?? new Blob([]) });
        take(null);
        for (const each of [name, paste, file]) each.value = "";
        trainings = [added, ...trainings];
        choose(added.id);
        list();
      } catch (problem) {
        alert.textContent = problem.message;
        start.disabled = false;
      }
      start.textContent = "Start learning";
    }
    const pasteButton = button("Paste a text", () => {
      take({ pasted: true, blob: new Blob([paste.value]), name: "pasted", about: "" });
      start.disabled = !paste.value;
      paste.focus();
    });
    paste.addEventListener("input", () => {
      const blob = new Blob([paste.value]);
      Object.assign(source, { blob });
      about.textContent = `${number([...paste.value].length)} characters`;
      start.disabled = !paste.value;
    });
    file.addEventListener("change", () => takeFile(file.files[0]));
    corpora.addEventListener("change", () => take(corpora.value ? { corpus: corpora.value, name: corpora.value, about: corpora.selectedOptions[0].dataset.about } : null));
    slider.addEventListener("input", () => {
      duration.textContent = minutes(MINUTES[slider.value]);
      slider.ariaValueText = duration.textContent;
    });
    whole.addEventListener("submit", send);
    zone.append(element("p", "Drop a text file here", { class: "big" }), ways, paste, about);
    ways.append(file, pick, " ", pasteButton, " ", corpora);
    time.append(labelled("Time", slider), " ", duration);
    more.append(element("summary", "More options"), labelled("Layers", layers), labelled("Units per layer", hidden), labelled("Encoding", encoding));
    const called = element("p");
    called.append(labelled("Name", name));
    whole.append(element("h2", "Learn a text"), zone, called, time, more, start, alert);
    return { whole, zone, corpora, takeFile };
  }

  // -- what is known -----------------------------------------------------------------------------------------------
  function statusText(each) {
    if (each.status === "waiting") return each.before ? `waits: ${number(each.before)} before it` : "starts";
    if (each.status === "running") {
      const latest = each.id === chosen && run?.latest;
      return latest ? `learning, ${left(latest.seconds_left)} left` : "learning";
    }
    return each.status === "stopping" ? "stops, and saves" : each.kept && each.status === "finished" ? "kept" : each.status;
  }
  // Rows stay where they are while only their words change, so that a click or the focus is not lost.
  function list() {
    const { rows, heading } = made, ids = trainings.map(({ id }) => id).join();
    heading.hidden = !trainings.length;
    if (rows.dataset.ids !== ids) {
      rows.dataset.ids = ids;
      rows.replaceChildren(...trainings.map(({ id }) => {
        const row = element("li"), press = button("", () => choose(id));
        press.append(element("b"), element("span"));
        row.append(press);
        return row;
      }));
    }
    trainings.forEach((each, index) => {
      const press = rows.children[index].firstElementChild, [name, words] = press.children;
      press.setAttribute("aria-current", each.id === chosen);
      name.textContent = each.name;
      words.textContent = statusText(each);
      words.className = each.status === "failed" ? "failed" : "soft";
    });
  }
  function sentenceOf(each) {
    const { finished } = run;
    if (each.status === "waiting") return each.before ? `Waits: ${number(each.before)} training${each.before === 1 ? "" : "s"} before it.` : run.doing ? `Starting: ${run.doing} …` : "Starts.";
    if (each.status === "running") return run.latest ? `Learning: ${left(run.latest.seconds_left)} left.` : `Starting: ${run.doing ?? "loading"} …`;
    if (each.status === "stopping") return "Stops after this step, and saves …";
    if (each.status === "stopped") return each.reason ? `Stopped: ${each.reason}; everything is saved.` : "Stopped; everything is saved.";
    if (each.status === "failed") return `Failed: ${each.reason}`;
    const best = finished?.bits ? ` Best on validation: ${finished.bits.toFixed(2)} bits per character.` : "";
    return `${sentence(ENDS[finished?.reason] ?? "finished")}${best}`;
  }
  function facts(each) {
    const { started, latest } = run, found = [];
    if (latest) {
      const steps = each.status === "running" || each.status === "stopping" ? `step ${number(latest.step)} of ${number(latest.steps)}` : `${number(latest.step)} steps`;
      found.push(steps, `read ${latest.epoch.toFixed(1)} times`, `${number(Math.round(latest.chars_per_second))} characters per second`);
    }
    if (started) found.push(`${started.network}, ${number(started.parameters)} parameters`, `${number(started.train_chars)} characters to learn, ${number(started.valid_chars)} for validation`);
    return found.join(" · ");
  }
  function detail() {
    const view = timelineView(), whole = element("section", undefined, { class: "training", hidden: "" });
    const title = element("h2"), status = element("p", "", { class: "status" }), bar = element("progress", undefined, { max: 1, value: 0, "aria-label": "steps" });
    const known = element("p", "", { class: "soft facts" }), actions = element("div", undefined, { class: "actions" }), alert = element("p", "", { role: "alert", class: "alert" }), place = element("p", "", { class: "place-kept" });
    const both = element("div", undefined, { class: "both" });
    both.append(view.figure, view.player);
    whole.append(title, status, bar, known, actions, alert, place, both);
    return { whole, title, status, bar, known, actions, alert, place, view, both, shown: "" };
  }
  async function act(action, options = {}) {
    const { alert } = made.one;
    alert.textContent = "";
    try {
      const query = new URLSearchParams(options);
      take(await server.json(`${API}/${chosen}/${action}?${query}`, { method: "POST" }));
      if (action === "keep" || action === "serve") await refresh();
      if (action === "serve") location.hash = `#tab=write&model=${encodeURIComponent(run.about.model)}`;
      else wake();
    } catch (problem) {
      alert.textContent = problem.message;
    }
  }
  function ask(words, verb) {
    const dialog = element("dialog"), row = element("p");
    return new Promise((done) => {
      const end = (answer) => { dialog.remove(); done(answer); };
      row.append(button(verb, () => end(true), { class: "main" }), " ", button("Cancel", () => end(false), { autofocus: "" }));
      dialog.append(element("p", words), row);
      dialog.addEventListener("cancel", () => end(false));
      document.body.append(dialog);
      dialog.showModal();
    });
  }
  async function remove() {
    const id = chosen, { name, kept, folder } = run.about;
    if (!(await ask(`Delete ${name}? Its text, its model and its samples are removed for good${kept ? ` from ${folder}` : ""}.`, "Delete"))) return;
    leaving?.abort(); // or it would be asked for when it is gone
    try {
      await server.json(`${API}/${id}`, { method: "DELETE" });
      trainings = trainings.filter((each) => each.id !== id);
      choose(trainings[0]?.id ?? "");
      await refresh();
    } catch (problem) {
      made.one.alert.textContent = problem.message;
    }
    if (leaving) begin();
  }
  // The buttons of a training: made anew only if others are due, so that what is being typed stays.
  function actions(each) {
    const { one } = made, rests = ["stopped", "finished", "failed"].includes(each.status);
    const key = [each.id, each.status, each.kept, each.name, each.model_bytes !== null].join();
    if (one.shown === key) return;
    one.shown = key;
    const due = [];
    if (rests && each.model_bytes !== null) due.push(button("Write with it", () => act("serve"), { class: "main" }));
    if (["waiting", "running", "stopping"].includes(each.status)) due.push(button(each.status === "stopping" ? "End it at once" : "Stop", () => act("stop")));
    if (rests) {
      const more = select(MINUTES.map((count) => [count, minutes(count)]), { "aria-label": "more minutes" });
      more.value = 5;
      if (each.status === "finished") due.push(pair(button("Go on for", () => act("go-on", { minutes: more.value })), more));
      else due.push(button("Go on", () => act("go-on")));
      if (each.model_bytes !== null) {
        const name = element("input", undefined, { type: "text", value: each.name, maxlength: 60, size: 14, "aria-label": "name to keep it by", spellcheck: "false" });
        due.push(pair(button(each.kept ? "Rename to" : "Keep as", () => act("keep", { name: name.value.trim() })), name));
      }
    }
    due.push(button("Delete …", remove), button("Learn another text", () => made.form.whole.scrollIntoView({ behavior: "smooth" }), { class: "another" }));
    one.actions.replaceChildren(...due);
  }
  function draw() {
    const { one } = made, each = run?.about;
    one.whole.hidden = !each;
    made.whole.classList.toggle("alone", !each);
    if (!each) return;
    one.title.textContent = each.name;
    one.status.textContent = sentenceOf(each);
    one.status.classList.toggle("failed", each.status === "failed");
    const active = each.status === "running" || each.status === "stopping";
    one.bar.hidden = !active;
    if (run.latest) Object.assign(one.bar, { max: run.latest.steps, value: run.latest.step });
    else one.bar.removeAttribute("value");
    one.known.textContent = facts(each);
    const rests = each.model_bytes !== null && !active;
    const held = each.model ? `The model is in memory as ${each.model}, ${size(each.model_bytes)} of weights. ` : "";
    const kept = each.folder ? `In a terminal: nextchar sample ${each.folder}` : `Kept, it becomes a run in the folder ${folder}.`;
    one.place.textContent = rests ? `${held}${kept}` : "";
    actions(each);
    const characters = run.started?.vocabulary ?? 0, points = run.training.length + run.validation.length;
    one.both.hidden = !points && !run.samples.length;
    if (run.changed) {
      run.changed = false;
      const { training, validation } = run, samples = run.samples.map((sample) => ({ ...sample, ...around(sample.step) }));
      one.view.update({ training, validation, samples, name: `${each.id} ${run.start}`, characters, uniform: characters > 1 ? Math.log2(characters) : null });
    }
  }
  // The losses known at a step, in bits per character.
  function around(step) {
    const { training, validation } = run;
    return { training: (training.find(([at]) => at >= step) ?? training.at(-1))?.[1], validation: validation.findLast(([at]) => at <= step * 1.1)?.[1] };
  }

  // -- the server --------------------------------------------------------------------------------------------------
  const fresh = () => ({ about: null, cursor: "", training: [], validation: [], samples: [], started: null, latest: null, finished: null, start: (run?.start ?? 0) + 1, changed: true });
  function take(about) {
    trainings = trainings.map((each) => (each.id === about.id ? { ...each, ...about } : each));
    if (run && about.id === chosen) run.about = about;
    list();
    draw();
  }
  function choose(id) {
    if (chosen !== id) {
      chosen = id;
      run = id ? fresh() : null;
      if (run) run.about = trainings.find((each) => each.id === id) ?? null;
    }
    list();
    draw();
    remember();
    wake();
  }
  async function look(signal) {
    const known = await server.json(API, { signal });
    trainings = known.trainings;
    [limits, folder] = [known.limits, known.runs];
    if (made.form.corpora.length === 1) {
      made.form.corpora.append(...known.corpora.map(({ name, about, place }) =>
        element("option", `${name}${place === "to be fetched" ? " (is downloaded)" : ""}`, { value: name, "data-about": about })));
    }
    if (chosen && !trainings.some(({ id }) => id === chosen)) choose("");
    if (!chosen && trainings.length) choose((trainings.find(({ status }) => status === "running") ?? trainings[0]).id);
    list();
    if (!run) return draw();
    const id = chosen;
    let reply, before = run.about?.status;
    do {
      reply = await server.json(`${API}/${id}?since=${encodeURIComponent(run.cursor)}`, { signal });
      if (id !== chosen) return;
      if (reply.whole) run = { ...fresh(), about: run.about, start: run.start + 1 };
      const { training, validation, samples, started, latest, finished, cursor, doing, whole, more, ...about } = reply;
      run.changed ||= Boolean(training.length + validation.length + samples.length + (whole && cursor ? 1 : 0));
      run.training.push(...training);
      run.validation.push(...validation);
      run.samples.push(...samples);
      Object.assign(run, { cursor, doing, about, ...(started && { started, finished: null }), ...(latest && { latest }), ...(finished && { finished }) });
    } while (reply.more);
    if (before !== run.about.status && run.about.model) refresh();
    take(run.about);
  }
  function begin() {
    leaving?.abort();
    leaving = new AbortController();
    watch(leaving.signal);
  }
  // One request after the other, while the tab is open; a server that is gone is asked until it is back.
  let wakeUp = () => {};
  const wake = () => wakeUp();
  async function watch(signal) {
    while (!signal.aborted) {
      let wait = document.hidden ? 5 : 1;
      try {
        await look(signal);
        if (absent) {
          notify("The server is back; trainings that were interrupted go on.");
          setTimeout(() => notify(""), 6000);
        }
        absent = false;
        if (!trainings.some(({ status }) => ["waiting", "running", "stopping"].includes(status))) wait = 3;
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        absent = problem.status === 0;
        if (problem.status === 404) choose(""); // another page has deleted it
        else notify(problem.message);
      }
      await Promise.race([pause(wait, signal).catch(() => {}), new Promise((done) => { wakeUp = done; })]);
    }
  }

  return {
    title: "Learn",
    needsModel: false,
    open(panel, state) {
      if (!made) {
        const given = form(), one = detail(), rows = element("ul", undefined, { class: "trainings" }), heading = element("h2", "Trainings", { hidden: "" });
        const side = element("div", undefined, { class: "teaching" }), whole = element("div", undefined, { class: "learn alone" });
        const empty = element("p", "A network learns from your text, character by character, in a process of its own on this machine. Minutes are enough to see words appear; the text stays here.", { class: "soft" });
        side.append(given.whole, heading, rows);
        whole.append(side, one.whole);
        given.whole.querySelector("h2").after(empty);
        panel.append(whole);
        made = { form: given, one, rows, heading, whole };
        for (const kind of ["dragenter", "dragover"]) {
          whole.addEventListener(kind, (event) => { event.preventDefault(); given.zone.classList.add("over"); });
        }
        whole.addEventListener("dragleave", (event) => whole.contains(event.relatedTarget) || given.zone.classList.remove("over"));
        whole.addEventListener("drop", (event) => {
          event.preventDefault();
          given.zone.classList.remove("over");
          given.takeFile(event.dataTransfer.files[0]);
        });
      }
      if (state?.training) choose(state.training);
      begin();
      if (made.one.view.at >= 0) made.one.view.draw();
    },
    close() {
      leaving?.abort();
      leaving = null;
    },
    state: () => ({ training: chosen }),
  };
})();
