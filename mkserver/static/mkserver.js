// The page's scripts: live parts, relative times, questions as dialogs, search in facts. Everything works without them.
"use strict";

const POLL_MS = 3000;
const offline = document.getElementById("offline");

// Times are counted from the server's clock: a browser's own may be wrong by hours.
let clockOffset = 0;
const started = document.querySelector("[data-now]");
if (started) clockOffset = Number(started.dataset.now) - Date.now();

function ago(ms) {
  const seconds = Math.max(0, Math.floor((Date.now() + clockOffset - ms) / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${seconds} s ago`;
}

function tellTimes() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Number(time.dataset.ago));
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = new Date(Number(time.dataset.ago)).toLocaleString();
  }
}

// A live part is replaced only when the server says that it changed, and not while somebody selects text in it.
function isInUse(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function replace(part, html) {
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
  part.innerHTML = html;
  for (const box of document.querySelectorAll("[data-filter]")) {
    if (box.dataset.filter === part.id) filterFacts(box.querySelector("input"), part);
  }
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  tellTimes();
}

async function renew(part) {
  const headers = { "X-Fragment": "1" };
  if (part.dataset.etag) headers["If-None-Match"] = part.dataset.etag;
  try {
    const answer = await fetch(part.dataset.live + location.search, { headers, cache: "no-store" });
    if (!answer.ok && answer.status !== 304) throw new Error(String(answer.status));
    offline.hidden = true;
    if (answer.status === 304 || isInUse(part)) return;
    const html = await answer.text();
    part.dataset.etag = answer.headers.get("ETag") || "";
    replace(part, html);
  } catch {
    offline.hidden = false;
  }
}

async function follow(part) {
  for (;;) {
    await new Promise((resume) => setTimeout(resume, POLL_MS));
    if (document.visibilityState === "visible" && !document.querySelector("dialog[open]")) await renew(part);
  }
}

// Questions: the same form that the link leads to, in a dialog.
const dialog = document.getElementById("ask");

async function ask(link) {
  const answer = await fetch(link.href, { headers: { "X-Fragment": "1" }, cache: "no-store" });
  if (!answer.ok) {
    location.href = link.href;
    return;
  }
  dialog.innerHTML = await answer.text();
  dialog.showModal();
  dialog.querySelector("[data-close]").focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-ask]");
  if (link && dialog.showModal && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    ask(link).catch(() => { location.href = link.href; });
  }
  if (event.target.closest("[data-close]") && dialog.open) {
    event.preventDefault();
    dialog.close();
  }
  if (event.target === dialog) dialog.close();
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent).then(() => {
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
  }
});

// Search in facts: every word must be in the name or the value.
function filterFacts(input, list) {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = list.querySelectorAll(".fact");
  let shown = 0;
  for (const fact of all) {
    const text = fact.textContent.toLowerCase();
    fact.hidden = !words.every((word) => text.includes(word));
    if (!fact.hidden) shown += 1;
  }
  for (const group of list.querySelectorAll(".group")) group.hidden = !group.querySelector(".fact:not([hidden])");
  const count = document.getElementById("filter-count");
  count.textContent = `${shown} of ${all.length} facts`;
  count.hidden = !words.length;
}

for (const box of document.querySelectorAll("[data-filter]")) {
  const input = box.querySelector("input");
  const list = document.getElementById(box.dataset.filter);
  box.hidden = false;
  input.addEventListener("input", () => {
    list.closest("details")?.setAttribute("open", "");
    filterFacts(input, list);
  });
}
for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
for (const part of document.querySelectorAll("[data-live]")) follow(part);
tellTimes();
setInterval(tellTimes, 1000);
