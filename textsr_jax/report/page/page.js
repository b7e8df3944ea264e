"use strict";
// Sorts and filters words, sorts tables, and shows the point of a chart below the pointer.
(() => {
  const gallery = document.getElementById("gallery");
  if (gallery) {
    const PAGE = 60;
    const [find, split, outcome, sort] =
      ["find", "split", "outcome", "sort"].map((name) => document.getElementById(name));
    const more = document.getElementById("more");
    const words = [...gallery.children];
    let most = PAGE;

    const compare = (first, second) => {
      const down = sort.value.startsWith("-");
      const key = sort.value.replace("-", "");
      const [a, b] = [first, second].map((word) => word.dataset[key]);
      const order = key === "label" ? a.localeCompare(b) : a - b;
      return (down ? -order : order) || first.dataset.number - second.dataset.number;
    };
    const update = () => {
      const wanted = find.value.trim().toLowerCase();
      const outcomes = outcome.value ? outcome.value.split(" ") : null;
      const fits = words.filter((word) =>
        word.dataset.text.includes(wanted) &&
        (!split.value || word.dataset.split === split.value) &&
        (!outcomes || outcomes.includes(word.dataset.outcome))).sort(compare);
      // The rest leaves the page, so that a print has what is seen.
      gallery.replaceChildren(...fits.slice(0, most));
      more.hidden = fits.length <= most;
      document.getElementById("count").textContent = `${fits.length} of ${words.length} words`;
    };
    const restart = () => { most = PAGE; update(); };
    find.addEventListener("input", restart);
    for (const control of [split, outcome, sort]) control.addEventListener("change", restart);
    find.form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", () => { most += 4 * PAGE; update(); });
    update();
  }

  for (const header of document.querySelectorAll("th")) {
    header.addEventListener("click", () => {
      const body = header.closest("table").tBodies[0];
      const column = header.cellIndex;
      const down = header.getAttribute("aria-sort") === "ascending";
      for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].textContent;
      const order = (a, b) => {
        const [x, y] = [Number(value(a)), Number(value(b))];
        return Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
      };
      const rows = [...body.rows].sort(order);
      body.replaceChildren(...(down ? rows.reverse() : rows));
    });
  }

  const tip = document.getElementById("tip");
  for (const chart of document.querySelectorAll("svg[data-points]")) {
    const points = JSON.parse(chart.dataset.points);
    const here = chart.querySelector(".here");
    const hide = () => { tip.hidden = true; here.style.visibility = "hidden"; };
    const show = (event) => {
      const box = chart.getBoundingClientRect();
      const scale = chart.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      const far = (point) => Math.hypot(point[0] - x, point[1] - y);
      const near = points.reduce((best, point) => (far(point) < far(best) ? point : best));
      here.setAttribute("cx", near[0]);
      here.setAttribute("cy", near[1]);
      here.style.visibility = "visible";
      tip.textContent = near[2];
      tip.hidden = false;
      const right = box.left + near[0] / scale;
      const beyond = right + 12 + tip.offsetWidth > document.documentElement.clientWidth;
      tip.style.left = `${Math.max(4, beyond ? right - 12 - tip.offsetWidth : right + 12)}px`;
      tip.style.top = `${box.top + near[1] / scale - 14}px`;
    };
    chart.addEventListener("pointermove", show);
    chart.addEventListener("pointerdown", show);
    chart.addEventListener("pointerleave", hide);
  }
})();
