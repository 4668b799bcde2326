"use strict";
const get = (id) => document.getElementById(id);
const examples = [...document.querySelectorAll(".example")].map((node) => ({
  node,
  scores: JSON.parse(node.dataset.scores),
  wrong: JSON.parse(node.dataset.wrong),
  kind: node.dataset.kind,
}));

// A page image is decoded when its example comes near the screen, so that hundreds of them open at once.
const pictures = JSON.parse(get("pictures").textContent);
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    target.src = pictures[Number(target.dataset.at)];
    near.unobserve(target);
  }
}, { rootMargin: "1200px" });
for (const image of document.querySelectorAll("img[data-at]")) near.observe(image);
addEventListener("beforeprint", () => {
  for (const image of document.querySelectorAll("img[data-at]")) image.src = pictures[Number(image.dataset.at)];
});

const value = (id) => get(id)?.value ?? "";
const better = () => get("measure")?.selectedOptions[0].dataset.better;

function show() {
  const measure = value("measure"), field = value("field"), kind = value("kind");
  const bound = Number(value("bound")) / 100, high = better() === "high";
  if (get("told")) get("told").textContent = `${value("bound")} %`;
  let count = 0;
  for (const { node, scores, wrong, kind: own } of examples) {
    const score = scores[measure];
    const atEnd = high ? bound === 1 : bound === 0;
    const fits = atEnd || (score !== undefined && (high ? score <= bound : score >= bound));
    node.hidden = !(fits && (!field || wrong.includes(field)) && (!kind || own === kind));
    count += !node.hidden;
  }
  get("count").textContent = `${count} of ${examples.length} shown`;
}

function sort() {
  const measure = value("measure"), sign = better() === "high" ? 1 : -1;
  const rank = ({ scores }) => (measure in scores ? sign * scores[measure] : Infinity);
  for (const { node } of [...examples].sort((a, b) => rank(a) - rank(b) || 0)) get("examples").append(node);
  for (const chip of document.querySelectorAll("[data-metric]")) {
    chip.classList.toggle("chief", chip.dataset.metric === measure);
  }
  get("way").textContent = sign > 0 ? "at most" : "at least";
  get("bound").value = sign > 0 ? 100 : 0;
  show();
}

document.querySelector("form").addEventListener("input", ({ target }) => (target.id === "measure" ? sort() : show()));
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
if (get("measure")) sort();
else show();
