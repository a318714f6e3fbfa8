// The whole report: first drawing, keyboard and form events, and the state of the view in the address.
function remember() {
  const parts = { unit: nameOf(units[state.unit]), at: state.at };
  if (state.signal) parts.signal = signals[state.signal].name;
  if ($("find").value) parts.find = $("find").value;
  if (state.from || state.to < shown) parts.view = `${state.from}-${state.to}`;
  if ($("order").value !== "given") parts.order = $("order").value;
  history.replaceState(null, "", `#${Object.entries(parts).map(([name, part]) => `${name}=${encodeURIComponent(part).replace("%3A", ":")}`).join("&")}`);
}
function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const at = Number(asked.get("at")), [from, to] = (asked.get("view") ?? "").split("-").map(Number);
  state.unit = Math.max(0, units.findIndex((unit) => nameOf(unit) === asked.get("unit")));
  state.signal = Math.max(0, signals.findIndex((signal) => signal.name === asked.get("signal")));
  Object.assign(state, from >= 0 && to > from && to <= shown ? { from, to } : { from: 0, to: shown });
  $("signal").value = state.signal;
  $("find").value = asked.get("find") ?? "";
  $("order").value = asked.get("order") === "likeness" ? "likeness" : "given";
  search($("find").value);
  drawUnit();
  arrange($("order").value);
  goTo(Number.isInteger(at) && at >= 0 && at < shown ? at : 0);
}
function drawAll() {
  readPalette();
  drawUnits();
  drawSaturation();
  drawTimes();
  drawReach();
  recall();
}
$("about").textContent = `${data.cell}, ${data.shape}; ${number(data.characters)} characters` +
  `${shown < data.characters ? `, the first ${number(shown)} shown` : ""}; ${data.bits.toFixed(3)} bits per character shown`;
$("signal").append(...signals.map(({ name }, index) => element("option", name, { value: index })));
$("signal").addEventListener("change", () => { state.signal = Number($("signal").value); drawUnit(); drawRaster(); look(state.at, true); });
$("order").addEventListener("change", () => { arrange($("order").value); remember(); });
$("place").addEventListener("change", drawAttribution);
$("search").addEventListener("submit", (event) => { event.preventDefault(); goToMatch(1); });
$("previous").addEventListener("click", () => goToMatch(-1));
$("find").addEventListener("input", () => { search($("find").value); drawStrip(); remember(); });
strip.addEventListener("scroll", drawStrip);
strip.addEventListener("mousemove", (event) => { const t = under(event); if (t >= 0) look(t, false); });
strip.addEventListener("click", (event) => { const t = under(event); if (t >= 0) look(t, true); });
addEventListener("resize", () => { drawStrip(); drawRaster(); });
addEventListener("hashchange", recall);
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
  if (event.key === "/") $("find").focus();
  else if (step) choose(state.unit + step);
  else return;
  event.preventDefault();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
document.body.dataset.ready = "yes";
