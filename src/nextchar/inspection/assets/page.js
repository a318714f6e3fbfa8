// The whole report: first drawing, keyboard and form events, and the state of the view in the address.
function remember() {
  const parts = { unit: nameOf(units[state.unit]) };
  if (state.stay) parts.at = state.at;
  if (state.signal) parts.signal = signals[state.signal]?.name ?? "surprisal";
  if ($("find").value) parts.find = $("find").value;
  if (state.from || state.to < shown) parts.view = `${state.from}-${state.to}`;
  if ($("order").value !== "given") parts.order = $("order").value;
  history.replaceState(null, "", `#${Object.entries(parts).map(([name, part]) => `${name}=${encodeURIComponent(part).replace("%3A", ":")}`).join("&")}`);
}
function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const at = Number(asked.get("at") ?? NaN), [from, to] = (asked.get("view") ?? "").split("-").map(Number);
  state.unit = Math.max(0, units.findIndex((unit) => nameOf(unit) === asked.get("unit")));
  state.signal = asked.get("signal") === "surprisal" ? SURPRISAL : Math.max(0, signals.findIndex((signal) => signal.name === asked.get("signal")));
  Object.assign(state, from >= 0 && to > from && to <= shown ? { from, to } : { from: 0, to: shown });
  $("find").value = asked.get("find") ?? "";
  $("order").value = asked.get("order") === "likeness" ? "likeness" : "given";
  search($("find").value);
  drawUnit();
  arrange($("order").value);
  state.stay = Number.isInteger(at) && at >= 0 && at < shown;
  goTo(state.stay ? at : units[state.unit].at);
}
function drawAll() {
  readPalette();
  drawUnits();
  drawSaturation();
  drawTimes();
  drawReach();
  recall();
}
const read = shown < data.characters ? `${number(data.characters)} characters were read, the first ${number(shown)} are shown` : `${number(shown)} characters`;
$("about").append(`A ${data.cell} of ${data.shape} reads this text character by character and guesses each next one. `,
  "Each of its neurons holds a number, which colours the text. ",
  !data.ranked ? "The neurons of this page were chosen. " : units[0].named ? "Neurons that follow something in the text come first, named in words. "
    : "No neuron follows quotes, brackets, lines, words, numbers or comments closely enough to be named; those that matter most come first. ",
  element("span", `${read}; ${data.bits.toFixed(2)} bits per character (0 is certain; a uniform guess over ${vocabulary.length} is ${Math.log2(vocabulary.length).toFixed(2)}; lower is better).`, { class: "soft" }));
$("back").addEventListener("click", () => choose(state.unit - 1));
$("next").addEventListener("click", () => choose(state.unit + 1));
$("below").addEventListener("change", () => { drawLegend(); goTo(state.at); });
$("order").addEventListener("change", () => { arrange($("order").value); remember(); });
$("place").addEventListener("change", drawAttribution);
$("search").addEventListener("submit", (event) => { event.preventDefault(); goToMatch(1); });
$("previous").addEventListener("click", () => goToMatch(-1));
$("find").addEventListener("input", () => { search($("find").value); view.draw(); remember(); });
strip.addEventListener("scroll", () => { $("tip").hidden = true; view.draw(); });
strip.addEventListener("pointermove", hover);
strip.addEventListener("pointerleave", () => { $("tip").hidden = true; });
strip.addEventListener("click", (event) => { const t = view.under(event); if (t >= 0) { state.stay = true; look(t, true); } });
addEventListener("resize", () => { view.draw(); drawRaster(); });
addEventListener("hashchange", recall);
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input[type=search], select")) return;
  if (event.key === "/") $("find").focus();
  else if (event.key === "p") $("below").click();
  else if (event.key === "s") show(state.signal === SURPRISAL ? 0 : SURPRISAL);
  else if (step && event.shiftKey) stayAt(Math.min(shown - 1, Math.max(0, state.at + step)));
  else if (step) choose(state.unit + step);
  else return;
  event.preventDefault();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
document.body.dataset.ready = "yes";
