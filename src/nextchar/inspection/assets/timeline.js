// The timeline of a run: its losses as a curve, and its samples side by side.
const { samples, training, validation } = data;
const bits = (sample, name) => sample[`${name}_bits_per_char`];
function losses(sample) {
  const known = ["training", "validation"].filter((name) => bits(sample, name) !== undefined);
  return known.map((name) => `${name} ${bits(sample, name).toFixed(3)}`).join(", ") || "no loss yet";
}
function card(sample) {
  const made = element("article", undefined, { id: `step-${sample.step}` });
  made.append(element("h2", `step ${number(sample.step)}`), element("p", losses(sample), { class: "soft" }), element("bdo", sample.text, { class: "sample" }));
  return made;
}
function curve() {
  const points = [...training, ...validation];
  if (!points.length) return element("p", "the run has no losses yet", { class: "soft" });
  const first = Math.max(1, Math.min(...points.map(([step]) => step), ...samples.map(({ step }) => step)));
  const last = Math.max(first + 1, ...points.map(([step]) => step)), heights = points.map(([, loss]) => loss);
  const low = Math.floor(Math.min(...heights) * 2) / 2, high = Math.ceil(Math.max(...heights) * 2) / 2;
  const marks = Array.from({ length: Math.round((high - low) * 2) + 1 }, (_, k) => low + k / 2);
  return chart({ scale: logarithmic(first, last), marks: powers(first, last), label: "step", text: number },
    { scale: linear(low, high), marks: marks.filter((_, k) => k % Math.ceil(marks.length / 7) === 0), label: "bits per character" },
    (px, py) => [
      ...samples.map(({ step }) => drawing("line", { x1: px(step), x2: px(step), y1: py(high), y2: py(low), stroke: "var(--line)" })),
      path(training.map(([step, loss]) => [px(step), py(loss)]), { stroke: "var(--soft)" }),
      path(validation.map(([step, loss]) => [px(step), py(loss)]), { stroke: "rgb(var(--blue))" }),
      ...validation.map(([step, loss]) => dot(px(step), py(loss), `step ${number(step)}: validation ${loss.toFixed(3)}`))],
    { width: 620, height: 160, label: "losses" });
}
$("about").textContent = `${number(samples.length)} samples kept during training; losses in bits per character`;
$("curve").replaceChildren(curve());
$("samples").replaceChildren(...samples.map(card));
document.body.dataset.ready = "yes";
