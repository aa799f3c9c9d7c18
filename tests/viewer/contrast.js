// Computes the contrast of every visible text with its background (WCAG 2.2, 1.4.3). Returns the
// number of texts, and those below 4.5:1.

const numbers = (text) => text.match(/[\d.]+/g).map(Number);
const colour = (text) => {
  const [r, g, b, a = 1] = text.startsWith("color(srgb")
    ? numbers(text.slice(10)).map((part, at) => (at < 3 ? part * 255 : part))
    : numbers(text);
  return { r, g, b, a };
};
const mix = (top, under, part) => top[part] * top.a + under[part] * (1 - top.a);
const over = (top, under) => ({
  r: mix(top, under, "r"),
  g: mix(top, under, "g"),
  b: mix(top, under, "b"),
  a: 1,
});
const beneath = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    layers.push(colour(getComputedStyle(at).backgroundColor));
  }
  const paper = { r: 255, g: 255, b: 255, a: 1 };
  return layers.reverse().reduce((under, top) => over(top, under), paper);
};
const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const light = ({ r, g, b }) =>
  0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);

const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const poor = [];
let looked = 0;
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim();
  const element = walker.currentNode.parentElement;
  if (!text || !element.checkVisibility({ opacityProperty: true })) continue;
  looked += 1;
  const ground = beneath(element);
  const front = over(colour(getComputedStyle(element).color), ground);
  const [less, more] = [light(front), light(ground)].sort((a, b) => a - b);
  const ratio = (more + 0.05) / (less + 0.05);
  if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className}: ${text.slice(0, 40)}`);
}
return [looked, poor];
