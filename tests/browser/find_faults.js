// Returns what is wrong with a page, a line for each fault; run by find_faults() of page_checks.py.
const faults = [];
const name = e => e.outerHTML.slice(0, 120);
const view = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > view)
  faults.push(`the document is ${document.documentElement.scrollWidth} px wide, the window ${view}`);
const scrolls = e => e && e !== document.body && e !== document.documentElement &&
  (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
const shown = e => e.checkVisibility({visibilityProperty: true});
for (const e of document.body.querySelectorAll("*")) {
  const box = e.getBoundingClientRect();
  if (box.width && (box.right > view + 1 || box.left < -1) && !scrolls(e.parentElement) && shown(e))
    faults.push(`from ${Math.round(box.left)} to ${Math.round(box.right)} px of ${view}: ${name(e)}`);
  // Text that a box cuts off is lost, unless the box scrolls.
  if (e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !e.closest("svg") && getComputedStyle(e).overflowX === "hidden")
    faults.push(`cut off: ${name(e)}`);
}
for (const e of document.querySelectorAll("img")) {
  if (!(e.complete && e.naturalWidth > 0)) faults.push(`a picture that is not there: ${name(e)}`);
  if (!e.hasAttribute("alt")) faults.push(`a picture without alt: ${name(e)}`);
}
const hidden = e => e.closest("[aria-hidden=true]");
for (const e of document.querySelectorAll("svg"))
  if (!hidden(e) && !(e.getAttribute("aria-label") || e.querySelector(":scope > title")))
    faults.push(`an svg without a name: ${name(e)}`);
for (const e of document.querySelectorAll("svg text")) {
  const frame = e.closest("svg").getBoundingClientRect(), box = e.getBoundingClientRect();
  if (shown(e) && (box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2))
    faults.push(`text outside of its chart: ${name(e)}`);
}
let last = 0;
for (const e of document.querySelectorAll("h1,h2,h3,h4,h5,h6")) {
  const level = Number(e.tagName[1]);
  if (level > last + 1) faults.push(`h${level} follows h${last}: ${name(e)}`);
  last = level;
}
if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) faults.push(`several elements are #${id}`);
for (const e of document.querySelectorAll('a[href^="#"]'))
  if (!document.getElementById(decodeURIComponent(e.getAttribute("href").slice(1)))) faults.push(`leads nowhere: ${name(e)}`);
for (const e of document.querySelectorAll("table"))
  if (!e.caption) faults.push(`a table without a caption: ${name(e)}`);
if (!document.title || !document.documentElement.lang) faults.push("no title or no language");
// Contrast of text to what is behind it (WCAG 2 AA), where both are plain colors.
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parse = color => (color.match(/[\d.]+/g) || []).map(Number);
const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
for (const e of document.body.querySelectorAll("*")) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !shown(e)) continue;
  if (["SCRIPT", "STYLE"].includes(e.tagName)) continue;
  const style = getComputedStyle(e);
  const text = parse(e.closest("svg") ? style.fill : style.color);
  if (text.length < 3) continue;
  const [a, b] = [luminance(text), luminance(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05), large = parseFloat(style.fontSize) >= 24;
  if (ratio < (large ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${name(e)}`);
}
return [...new Set(faults)];
