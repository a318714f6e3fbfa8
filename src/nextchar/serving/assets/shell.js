// The tabs, and the address that holds what they show: #tab=NAME&... Each tab has a file with one object, in a block of its own:
//
//   tabs.look = (() => {
//     ...
//     return {
//       title: "Look",
//       needsModel: true,          without a model the shell says what to do, and does not open the tab
//       open(panel, state) {...},  each time it is shown. panel: an element of its own, empty the first time. state: an object of
//                                  strings from the address; null if a click opened it again, and it keeps what it has
//       close() {...},             it is hidden; what runs for it alone ends
//       state() { return {...}; }, what to put in the address; undefined and "" are left out
//       models() {...},            optional: server.models has changed while it is open
//     };
//   })();
//
// A tab calls remember() when its state changes. Event "models" on window: there are new models; the shell asks for them.
const tabs = {};
const ORDER = ["write", "look", "learn", "compare"];
function withoutModel() {
  const command = "start the server with one: nextchar serve runs/demo";
  if (!available().includes("learn")) return element("p", `There is no model; ${command}`);
  const made = element("p", "There is no model yet. ");
  made.append(button("Train one", () => choose("learn")), ` or ${command}`);
  return made;
}
const shell = { open: null, panels: {}, seen: new Set(), timer: 0 };

const available = () => ORDER.filter((name) => tabs[name] && (name !== "learn" || data.training !== false));
function addressed() {
  const { tab, ...state } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return { tab, state };
}
function address(name) {
  const parts = Object.entries(tabs[name].state()).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return `#${[["tab", name], ...parts].map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%3A", ":").replaceAll("%20", "+")}`).join("&")}`;
}
// Browsers refuse an address that changes many times a second.
function remember() {
  clearTimeout(shell.timer);
  shell.timer = setTimeout(() => {
    if (shell.seen.has(shell.open)) history.replaceState(null, "", address(shell.open));
  }, 250);
}
function notify(message) {
  $("notice").textContent = message;
  $("notice").hidden = !message;
}
async function refresh() {
  try {
    await server.refresh();
    notify("");
  } catch (problem) {
    notify(problem.message);
  }
}
function show(name, state, push) {
  const before = shell.open;
  if (before && before !== name && shell.seen.has(before)) tabs[before].close();
  shell.open = name;
  document.title = `nextchar: ${tabs[name].title.toLowerCase()}`;
  for (const [each, panel] of Object.entries(shell.panels)) {
    panel.hidden = each !== name;
    const tab = $(`tab-${each}`);
    tab.setAttribute("aria-selected", each === name);
    tab.tabIndex = each === name ? 0 : -1;
  }
  const empty = tabs[name].needsModel && !server.models.length, panel = shell.panels[name];
  panel.lastElementChild.hidden = !empty;
  panel.firstElementChild.hidden = empty;
  clearTimeout(shell.timer);
  if (empty) {
    if (push) history.pushState(null, "", `#tab=${name}`);
    return;
  }
  tabs[name].open(panel.firstElementChild, shell.seen.has(name) ? state : state ?? {});
  shell.seen.add(name);
  if (push) history.pushState(null, "", address(name));
}
async function choose(name) {
  if (name === shell.open) return;
  show(name, null, true);
  await refresh();
  modelsChanged();
}
function modelsChanged() {
  const name = shell.open, waits = tabs[name].needsModel && !shell.panels[name].lastElementChild.hidden;
  if (waits && server.models.length) show(name, addressed().state, false);
  else if (!waits) tabs[name].models?.();
}
function follow() {
  const { tab, state } = addressed(), names = available();
  const first = server.models.length || !names.includes("learn") ? names[0] : "learn";
  show(names.includes(tab) ? tab : first, state, false);
}
async function start() {
  for (const name of available()) {
    const tab = element("button", tabs[name].title, { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}` });
    tab.addEventListener("click", () => choose(name));
    $("tabs").append(tab);
    const panel = element("section", undefined, { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}` });
    panel.hidden = true;
    panel.append(element("div"), withoutModel());
    shell.panels[name] = panel;
    $("panels").append(panel);
  }
  $("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], names = available();
    if (!step) return;
    const next = names[(names.indexOf(shell.open) + step + names.length) % names.length];
    $(`tab-${next}`).focus();
    choose(next);
    event.preventDefault();
  });
  addEventListener("hashchange", follow);
  addEventListener("models", () => refresh().then(modelsChanged));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readPalette);
  readPalette();
  await refresh();
  follow();
  document.body.dataset.ready = "yes";
}
addEventListener("DOMContentLoaded", start);
