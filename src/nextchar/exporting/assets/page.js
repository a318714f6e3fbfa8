// An exported page: the writer, what single neurons hold after each character of its text, and whether the model computes here what it
// computed where it was exported.
const SEEN = 2000; // characters, the last of the text, that are coloured by a neuron
const PAUSE = 300; // milliseconds between two readings of a text that changes
const TOLERANCE = 1e-4; // of ln p; rounding of a logarithm differs by less than 1e-6

globalThis.nextchar = engine; // for a person at the console, and for the tests
readPalette();
$("about").textContent = data.about;
// What is set and written is kept in the address, so that it can be opened again, or sent as a link to a page on a host.
let timer = 0;
const made = writer(engine, { remember: () => { clearTimeout(timer); timer = setTimeout(keep, PAUSE); } });
function keep() {
  const { model, ...state } = made.state();
  history.replaceState(null, "", `#${new URLSearchParams(Object.entries(state).filter(([, value]) => value))}`);
}
const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
let chosen = 0, seen = { text: "", letters: [], values: [] };

function paint() {
  const values = seen.values.map((each) => each[chosen]);
  $("seen").replaceChildren(coloured(seen.letters.map(visibleLetter), (t) => diverging(values[t]), { title: (t) => values[t].toFixed(2) }));
  [...$("units").children].forEach((button, k) => {
    button.setAttribute("aria-checked", k === chosen);
    button.tabIndex = k === chosen ? 0 : -1;
  });
}
const visibleLetter = (letter) => (/^[\p{Cc}\p{Cs}]$/u.test(letter) && !"\n\t".includes(letter) ? `\\x${letter.codePointAt(0).toString(16).padStart(2, "0")}` : letter);
// Reads the text of the writer as it changes, and colours its end.
async function follow() {
  const text = made.text();
  if (text !== seen.text) {
    try {
      const values = await engine.look(text, SEEN), letters = engine.models[0].units === "bytes" ? bytesOf(text) : Array.from(text);
      seen = { text, letters: letters.slice(-SEEN), values };
      $("neurons").hidden = !values.length || !engine.neurons.length;
      paint();
    } catch { seen.text = text; /* a character that the model does not know; the writer says which */ }
  }
  setTimeout(follow, PAUSE);
}
// A character of several bytes stands at the last of them.
const bytesOf = (text) => Array.from(text).flatMap((letter) => [...Array(new TextEncoder().encode(letter).length - 1).fill("·"), letter]);

function choose(k, focus) {
  chosen = (k + engine.neurons.length) % engine.neurons.length;
  paint();
  if (focus) $("units").children[chosen].focus();
}
engine.neurons.forEach(({ about }, k) => {
  const button = element("button", about, { type: "button", role: "radio" });
  button.addEventListener("click", () => choose(k));
  button.addEventListener("keydown", (event) => {
    const next = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!next) return;
    event.preventDefault();
    choose(k + next, true);
  });
  $("units").append(button);
});
function drawScale() {
  const swatches = [-1, 0, 1].map((value) => {
    const swatch = element("span", value ? `${value < 0 ? "−" : "+"}1` : "0");
    Object.assign(swatch.style, { background: css(diverging(value)), color: ink(diverging(value)) });
    return swatch;
  });
  $("scale").replaceChildren("Colour of a character: what the neuron holds after reading it: ", ...swatches);
}
drawScale();
$("named").textContent = data.named;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); drawScale(); paint(); });

function wrong(sentence) {
  Object.assign($("note"), { textContent: sentence, className: "wrong", hidden: false });
}
$("writer").append(made.element);
made.open({ text: "", ...asked });
document.querySelector("main").hidden = false;
try {
  await engine.opened;
  $("note").hidden = true;
  follow();
  if (!asked.text) made.element.querySelector("button.main").click(); // shows at once what the page does
  const { characters, largest } = await engine.checked;
  if (largest > TOLERANCE) wrong(`This model does not compute what it computed when it was exported: ln p of a character differs by ${largest.toPrecision(2)}. The file is damaged; download or export it again.`);
  else $("checked").textContent = `Checked: ${characters} characters have the probabilities here that they had when the model was exported. Nothing that is typed leaves this page.`;
} catch (error) {
  wrong(error.message);
  made.element.querySelectorAll("button").forEach((button) => { button.disabled = true; });
}
document.body.dataset.ready = "1";
