// Shared by every page: its data, and elements whose content is always text, never HTML.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
// In the frame of a notebook a page has no address that could hold what is selected.
if (location.protocol === "about:") history.replaceState = () => undefined;

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content;
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  return made;
}
function drawing(name, attributes, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  made.append(...inside);
  return made;
}
const number = (count) => count.toLocaleString("en");
const percent = (share) => `${(100 * share).toFixed(1)} %`;
$("title").textContent = document.title = data.title || "nextchar inspect";
