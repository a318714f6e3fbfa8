// The page of a timeline: the view of pages/assets/timeline.js; below, the first, the middle and the last sample.
const samples = data.samples.map(({ training_bits_per_char: training, validation_bits_per_char: validation, ...sample }) => ({ ...sample, training, validation }));
const last = samples.length - 1;
const view = timelineView({ onShow: ({ step }) => history.replaceState(null, "", `#step=${step}`) });
for (const [name, part] of Object.entries({ ...view.parts, player: view.player })) part.id = name;

function recall() {
  const step = Number(new URLSearchParams(location.hash.slice(1)).get("step"));
  view.go(Math.max(0, samples.findIndex((sample) => sample.step === step)));
}
function stages() {
  const middle = Math.floor(last / 2);
  return [[0, "First"], [middle, "Middle"], [last, "Last"]].filter(([index], k) => k === 2 ? last > 0 : k === 0 || (index > 0 && index < last)).map(([index, name]) => {
    const made = element("article");
    made.append(element("h2", name), element("p", view.about(samples[index]), { class: "soft" }), view.written(samples[index]));
    return made;
  });
}
$("about").textContent = `What the network wrote while it learned: ${number(samples.length)} samples of one training.`;
$("stages").before(view.player, view.figure);
const { hash } = location;
view.update({ ...data, samples });
if (samples.length) {
  history.replaceState(null, "", hash || location.pathname);
  $("stages").replaceChildren(...stages());
  addEventListener("hashchange", recall);
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " " && !event.target.matches("button")) view.play();
    else if (step && event.target !== $("slider")) view.go(view.at + step);
    else return;
    event.preventDefault();
  });
  recall();
} else {
  view.player.hidden = false;
  view.player.replaceChildren(element("p", "the run has no samples yet", { class: "soft" }));
}
document.body.dataset.ready = "yes";
