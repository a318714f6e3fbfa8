// Colours, as [r, g, b]: diverging(-1 to 1), green(0 to 1), surprise(bits of surprisal); blue, middle, orange as the style has them; ink by the relative luminance of WCAG 2.
let palette;
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).split(",").map(Number);
  palette = { blue: read("--blue"), mid: read("--mid"), orange: read("--orange"), green: read("--green"),
    fore: style.getPropertyValue("--fore"), soft: style.getPropertyValue("--soft"), back: style.getPropertyValue("--back") };
}
const mix = (one, other, share) => one.map((c, k) => Math.round(c + (other[k] - c) * share));
const diverging = (v) => mix(palette.mid, v > 0 ? palette.orange : palette.blue, Math.min(1, Math.abs(v)));
const green = (share) => mix(palette.mid, palette.green, share);
const LARGE = 8; // bits of surprisal at the end of the scale
const surprise = (bits) => diverging(Math.min(1, bits / LARGE));
const css = (colour) => `rgb(${colour})`;
function ink([r, g, b]) {
  const linear = (c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.18 ? "#000" : "#fff";
}
