// The samples of a training, one at a time beside the curve of its losses.
//
//   const view = timelineView({ onShow }) -> { player, figure, parts, update(run), show(index), go(index), play(), draw(), at }
//
// player and figure are elements, parts those that a page may name. run: { samples: [{ step, seconds, text, training, validation }],
// training and validation: [[step, bits per character, seconds]], uniform, characters, name }; seconds may be missing. After an update
// the last sample is shown if the last one was shown before.
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const PAUSE = 900; // milliseconds for which a sample is shown while the timeline plays

function timelineView({ onShow = () => {} } = {}) {
  let run = { samples: [], training: [], validation: [] }, at = -1, timer, places = [], now, dots = [];
  const button = (words, label) => element("button", words, { type: "button", ...(label && { "aria-label": label }) });
  const play = button("▶\ufe0e Play"), back = button("‹", "previous sample"), next = button("›", "next sample");
  const slider = element("input", undefined, { type: "range", min: 0, "aria-label": "sample" });
  const place = element("span", "", { class: "place soft" }), when = element("p", "", { class: "when" });
  const samples = element("div", undefined, { class: "samples" }), curve = element("div", undefined, { class: "curve" }), unit = element("p", "", { class: "unit soft" });
  const player = element("section", undefined, { class: "player" }), controls = element("div", undefined, { class: "controls" }), figure = element("figure", undefined, { class: "losses" });
  const caption = element("figcaption");
  caption.append(element("span", "training", { class: "soft key" }), " ", element("span", "validation", { class: "blue key" }), " ", element("span", "● sample: click it", { class: "soft" }));
  controls.append(play, back, slider, next, place);
  player.append(controls, when, samples);
  figure.append(caption, curve, unit);

  const last = () => run.samples.length - 1;
  function losses(sample) {
    const known = ["training", "validation"].filter((name) => sample[name] !== undefined);
    return known.length ? `${known.map((name) => `${name} ${sample[name].toFixed(2)}`).join(", ")} bits per character` : "no loss yet";
  }
  const about = (sample) => [`step ${number(sample.step)}`, ...(sample.seconds === undefined ? [] : [`after ${clock(sample.seconds)}`]), losses(sample)].join(" · ");
  const written = (sample) => element("bdo", sample.text, { class: "sample" });

  // Between the points of a curve beside a step: 1 is its height, 2 its time.
  function between(points, step, index) {
    const after = points.findIndex(([at]) => at >= step);
    if (after < 1) return (points.at(after) ?? [])[index];
    const [one, other] = [points[after - 1], points[after]];
    return one[index] + (other[index] - one[index]) * logarithmic(one[0], other[0])(step);
  }
  const heightAt = (step) => between(run.validation.length && step >= run.validation[0][0] ? run.validation : run.training, step, 1) ?? 0;
  // At most one point for each pixel: the mean of those that share it.
  function thinned(points, px) {
    const columns = new Map();
    for (const [step, bits] of points) {
      const key = Math.round(px(step)), held = columns.get(key) ?? [0, 0, 0];
      columns.set(key, [step, held[1] + bits, held[2] + 1]);
    }
    return [...columns.values()].map(([step, sum, count]) => [step, sum / count]);
  }
  // Steps on a logarithmic axis, so that the early fall has as much room as the rest.
  function draw() {
    const { training, validation, uniform } = run, points = [...training, ...validation];
    if (!points.length) return curve.replaceChildren(element("p", "the run has no losses yet", { class: "soft" }));
    let end = 0, low = uniform || Infinity, high = uniform || -Infinity, first = Math.min(points[0][0], run.samples[0]?.step ?? Infinity);
    for (const [step, bits] of points) [end, low, high, first] = [Math.max(end, step), Math.min(low, bits), Math.max(high, bits), Math.min(first, step)];
    [first, low, high] = [Math.max(1, first), Math.floor(low * 2) / 2, Math.ceil(high * 2) / 2];
    end = Math.max(first + 1, end);
    const levels = Array.from({ length: Math.round((high - low) * 2) + 1 }, (_, k) => low + k / 2);
    const width = Math.max(160, curve.clientWidth - LEFT - 20), timed = training.length && training[0][2] !== undefined;
    const text = (step) => number(step) + (timed && step >= training[0][0] ? ` (${clock(between(training, step, 2))})` : "");
    now = drawing("g", {});
    const drawn = chart({ scale: logarithmic(first, end), marks: powers(first, end), label: timed ? "step (after minutes:seconds), logarithmic" : "step (logarithmic)", text },
      { scale: linear(low, high), marks: levels.filter((v) => levels.length < 8 || v % 1 === 0), label: "bits per character" },
      (px, py) => {
        const line = (points, attributes) => path(thinned(points, px).map(([step, loss]) => [px(step), py(loss)]), attributes);
        places = run.samples.map((sample) => [px(sample.step), py(heightAt(sample.step))]);
        return [
          ...(uniform ? [path([[px(first), py(uniform)], [px(end), py(uniform)]], { stroke: "var(--soft)", "stroke-dasharray": "4 4" })] : []),
          line(training, { stroke: "var(--soft)" }),
          line(validation, { stroke: "rgb(var(--blue))", "stroke-width": 2 }),
          now,
          ...places.map(([x, y], index) => dot(x, y, about(run.samples[index])))];
      },
      { width, height: 200, label: "bits per character by step" });
    dots = [...drawn.querySelectorAll("circle")];
    curve.replaceChildren(drawn);
    pick();
  }
  function pick() {
    if (!dots.length || !places[at]) return;
    const [x, y] = places[at];
    dots.forEach((each, k) => Object.entries({ r: k === at ? 6 : 4, "fill-opacity": k === at ? 1 : 0.45 }).forEach(([name, value]) => each.setAttribute(name, value)));
    now.replaceChildren(drawing("line", { x1: x, x2: x, y1: y, y2: 206, stroke: "var(--fore)" }));
  }
  function show(index) {
    at = Math.min(last(), Math.max(0, index));
    const sample = run.samples[at];
    if (!sample) return;
    [...samples.children].forEach((each, k) => each.setAttribute("aria-current", k === at));
    Object.assign(slider, { value: at, ariaValueText: about(sample) });
    when.textContent = about(sample);
    place.textContent = `${at + 1} of ${run.samples.length}`;
    back.disabled = at === 0;
    next.disabled = at === last();
    pick();
    onShow(sample);
  }
  function stop() {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "▶\ufe0e Play";
  }
  function go(index) {
    stop();
    show(index);
  }
  function toggle() {
    if (timer) return stop();
    show(at === last() ? 0 : at);
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => (at === last() ? stop() : (show(at + 1), at === last() && stop())), PAUSE);
  }
  function update(given) {
    const following = at === last() && !timer, same = given.samples.length >= run.samples.length && samples.childElementCount === run.samples.length && given.name === run.name;
    const known = same ? run.samples.length : 0;
    run = given;
    if (!same) {
      at = -1;
      stop();
      samples.replaceChildren();
    }
    samples.append(...run.samples.slice(known).map(written));
    slider.max = Math.max(0, last());
    const guess = run.uniform ? `a uniform guess over ${number(run.characters)} characters is ${run.uniform.toFixed(2)} (dashed); ` : "";
    unit.textContent = `Bits per character: 0 is certain; ${guess}lower is better.`;
    player.hidden = !run.samples.length;
    draw();
    if (run.samples.length) show(following || !same ? last() : at);
  }
  play.addEventListener("click", toggle);
  back.addEventListener("click", () => go(at - 1));
  next.addEventListener("click", () => go(at + 1));
  slider.addEventListener("input", () => go(Number(slider.value)));
  curve.addEventListener("click", (event) => {
    const x = event.clientX - curve.getBoundingClientRect().left;
    if (places.length) go(places.reduce((best, [px], k) => (Math.abs(px - x) < Math.abs(places[best][0] - x) ? k : best), 0));
  });
  addEventListener("resize", () => curve.clientWidth && draw());
  return { player, figure, about, written, update, show, go, draw, play: toggle, parts: { play, back, slider, next, place, when, samples, curve, unit }, get at() { return at; } };
}
