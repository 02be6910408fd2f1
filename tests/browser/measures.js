// Measurements of a rendered page; each function returns what is wrong, in words a failing test can print.
"use strict";

function isSeen(node) {
  return node.checkVisibility() && !node.closest(".skip, .hidden");
}

// Boxes outside the window, and boxes whose content is wider than they are and not cut on purpose.
function overflowing() {
  const found = [];
  const root = document.documentElement;
  const width = root.clientWidth;
  if (root.scrollWidth > width) found.push(["document", root.scrollWidth, width]);
  for (const each of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(each);
    if (!isSeen(each) || style.clipPath !== "none" || each.closest("thead")) continue;
    const name = `${each.tagName}.${each.className}`;
    const box = each.getBoundingClientRect();
    if (box.width && (box.right > width + 0.5 || box.left < -0.5)) found.push([name, box.left, box.right]);
    const isCut = ["hidden", "clip", "auto"].includes(style.overflowX);
    const scrollsItself = ["INPUT", "SELECT", "TEXTAREA"].includes(each.tagName);
    if (!isCut && !scrollsItself && style.display !== "inline" && each.clientWidth
        && each.scrollWidth > each.clientWidth + 1) {
      found.push([`${name} holds more`, each.scrollWidth, each.clientWidth]);
    }
  }
  return found;
}

// Texts that the layout leaves no room for.
function squeezed() {
  return [...document.querySelectorAll("a, button, .badge, .cut, h1, h2, label, dd, time")]
    .filter((each) => isSeen(each) && each.textContent.trim().length > 3)
    .map((each) => [each.textContent.trim().slice(0, 30), each.getBoundingClientRect().width])
    .filter(([, width]) => width < 22);
}

const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
  .getContext("2d", { willReadFrequently: true });

function rgba(colour) {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
}

function over(top, below) {
  return [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
}

function backgroundOf(node) {
  const layers = [];
  for (let each = node; each; each = each.parentElement) {
    layers.unshift(rgba(getComputedStyle(each).backgroundColor));
    if (layers[0][3] === 1) break;
  }
  return layers.reduce((below, top) => over(top, below), rgba(getComputedStyle(document.body).backgroundColor));
}

// Relative luminance and contrast as WCAG 2.2 defines them.
function luminance(colour) {
  const [red, green, blue] = colour.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function ratio(style, node) {
  const back = backgroundOf(node);
  const [high, low] = [luminance(over(rgba(style.color), back)), luminance(back)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

// How many texts were measured, and those below AA: 4.5, or 3 for large ones.
function contrast() {
  const poor = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const owner = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || ["SCRIPT", "STYLE"].includes(owner.tagName) || !isSeen(owner)) continue;
    const style = getComputedStyle(owner);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (Number(style.fontWeight) >= 700 && size >= 18.66);
    const found = ratio(style, owner);
    texts += 1;
    if (found < (isLarge ? 3 : 4.5)) poor.push([text.slice(0, 40), owner.className, found.toFixed(2)]);
  }
  for (const input of document.querySelectorAll("input[placeholder], textarea[placeholder]")) {
    const found = ratio(getComputedStyle(input, "::placeholder"), input);
    if (found < 4.5) poor.push(["placeholder", input.name, found.toFixed(2)]);
  }
  return [texts, poor];
}
