// The timeline of a run: one sample at a time beside the loss curve; below, the first, the middle and the last.
const { samples, training, validation } = data;
const PAUSE = 900; // milliseconds for which a sample is shown while the timeline plays
let at = 0, timer;
const last = samples.length - 1;
const bits = (sample, name) => sample[`${name}_bits_per_char`];
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
function losses(sample) {
  const known = ["training", "validation"].filter((name) => bits(sample, name) !== undefined);
  return known.length ? `${known.map((name) => `${name} ${bits(sample, name).toFixed(2)}`).join(", ")} bits per character` : "no loss yet";
}
const about = (sample) => [`step ${number(sample.step)}`, ...(sample.seconds === undefined ? [] : [`after ${clock(sample.seconds)}`]), losses(sample)].join(" · ");
const written = (sample) => element("bdo", sample.text, { class: "sample" });

// The height of a curve at a step, between the points beside it; of validation, where it has begun.
function heightAt(step) {
  const points = validation.length && step >= validation[0][0] ? validation : training;
  const next = points.findIndex(([at]) => at >= step);
  if (next < 1) return (points.at(next) ?? [0, 0])[1];
  const [[from, low], [to, high]] = [points[next - 1], points[next]];
  return low + (high - low) * logarithmic(from, to)(step);
}

// The curve: steps on a logarithmic axis, so that the early fall has as much room as the rest.
const curve = { pick: () => {}, nearest: () => at };
function drawCurve() {
  const points = [...training, ...validation];
  if (!points.length) return $("curve").replaceChildren(element("p", "the run has no losses yet", { class: "soft" }));
  const first = Math.max(1, Math.min(...points.map(([step]) => step), ...samples.map(({ step }) => step)));
  const end = Math.max(first + 1, ...points.map(([step]) => step)), heights = [...points.map(([, loss]) => loss), ...(data.uniform ? [data.uniform] : [])];
  const low = Math.floor(Math.min(...heights) * 2) / 2, high = Math.ceil(Math.max(...heights) * 2) / 2;
  const marks = Array.from({ length: Math.round((high - low) * 2) + 1 }, (_, k) => low + k / 2);
  const width = Math.max(160, $("curve").clientWidth - LEFT - 20), now = drawing("g", {});
  let places;
  const drawn = chart({ scale: logarithmic(first, end), marks: powers(first, end), label: "step (logarithmic)", text: number },
    { scale: linear(low, high), marks: marks.filter((v) => marks.length < 8 || v % 1 === 0), label: "bits per character" },
    (px, py) => {
      places = samples.map((sample) => [px(sample.step), py(heightAt(sample.step))]);
      return [
        ...(data.uniform ? [path([[px(first), py(data.uniform)], [px(end), py(data.uniform)]], { stroke: "var(--soft)", "stroke-dasharray": "4 4" })] : []),
        path(training.map(([step, loss]) => [px(step), py(loss)]), { stroke: "var(--soft)" }),
        path(validation.map(([step, loss]) => [px(step), py(loss)]), { stroke: "rgb(var(--blue))", "stroke-width": 2 }),
        now,
        ...places.map(([x, y], index) => dot(x, y, about(samples[index])))];
    },
    { width, height: 200, label: "bits per character by step" });
  const dots = [...drawn.querySelectorAll("circle")];
  curve.pick = (index) => {
    const [x, y] = places[index] ?? [0, 0];
    dots.forEach((each, k) => Object.entries({ r: k === index ? 6 : 4, "fill-opacity": k === index ? 1 : 0.45 }).forEach(([name, value]) => each.setAttribute(name, value)));
    now.replaceChildren(drawing("line", { x1: x, x2: x, y1: y, y2: 206, stroke: "var(--fore)" }));
  };
  curve.nearest = (x) => places.reduce((best, place, k) => (Math.abs(place[0] - x) < Math.abs(places[best][0] - x) ? k : best), 0);
  $("curve").replaceChildren(drawn);
  curve.pick(at);
}
function show(index) {
  at = Math.min(last, Math.max(0, index));
  const sample = samples[at];
  [...$("samples").children].forEach((each, k) => each.setAttribute("aria-current", k === at));
  Object.assign($("slider"), { value: at, ariaValueText: about(sample) });
  $("when").textContent = about(sample);
  $("place").textContent = `${at + 1} of ${samples.length}`;
  $("back").disabled = at === 0;
  $("next").disabled = at === last;
  curve.pick(at);
  history.replaceState(null, "", `#step=${sample.step}`);
}
function go(index) {
  stop();
  show(index);
}
function stop() {
  clearInterval(timer);
  timer = undefined;
  $("play").textContent = "▶\ufe0e Play";
}
function play() {
  if (timer) return stop();
  show(at === last ? 0 : at);
  $("play").textContent = "❚❚ Pause";
  timer = setInterval(() => (at === last ? stop() : (show(at + 1), at === last && stop())), PAUSE);
}
function recall() {
  const step = Number(new URLSearchParams(location.hash.slice(1)).get("step"));
  go(Math.max(0, samples.findIndex((sample) => sample.step === step)));
}
function stages() {
  const middle = Math.floor(last / 2);
  return [[0, "First"], [middle, "Middle"], [last, "Last"]].filter(([index], k) => k === 2 ? last > 0 : k === 0 || (index > 0 && index < last)).map(([index, name]) => {
    const made = element("article");
    made.append(element("h2", name), element("p", about(samples[index]), { class: "soft" }), written(samples[index]));
    return made;
  });
}
$("about").textContent = `What the network wrote while it learned: ${number(samples.length)} samples of one training.`;
$("unit").textContent = "Bits per character: 0 is certain; " + (data.uniform ? `a uniform guess over ${number(data.characters)} characters is ${data.uniform.toFixed(2)} (dashed); ` : "") + "lower is better.";
addEventListener("resize", drawCurve);
if (samples.length) {
  $("slider").max = last;
  $("samples").replaceChildren(...samples.map(written));
  $("stages").replaceChildren(...stages());
  $("play").addEventListener("click", play);
  $("back").addEventListener("click", () => go(at - 1));
  $("next").addEventListener("click", () => go(at + 1));
  $("slider").addEventListener("input", () => go(Number($("slider").value)));
  $("curve").addEventListener("click", (event) => go(curve.nearest(event.clientX - $("curve").getBoundingClientRect().left)));
  addEventListener("hashchange", recall);
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && !event.target.matches("button")) play();
    else if (step && event.target !== $("slider")) go(at + step);
    else return;
    event.preventDefault();
  });
  drawCurve();
  recall();
} else {
  $("player").replaceChildren(element("p", "the run has no samples yet", { class: "soft" }));
  drawCurve();
}
document.body.dataset.ready = "yes";
