"use strict";
document.documentElement.classList.remove("without-script");

// A click or Enter on a heading sorts by its column; a second one reverses the order. Rows without a value stay last.
for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0];
  table.tHead.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    const heading = button.closest("th"), column = heading.cellIndex;
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const key = row => {
      const cell = row.cells[column];
      if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
      const text = cell.textContent.trim();
      return text === "-" || text === "" ? null : text;
    };
    const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });
    const rows = Array.from(body.rows, row => [key(row), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : (ascending ? 1 : -1) * order(a, b));
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  });
}

// A search form shows the items that contain every word and belong to the chosen variant and game.
const filters = new Map();
for (const form of document.querySelectorAll("form.controls")) {
  const items = () => document.querySelectorAll(form.dataset.items);
  const fields = form.elements, output = form.querySelector("output");
  const apply = () => {
    const words = fields.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, all = 0;
    for (const item of items()) {
      const text = (item.dataset.text ?? item.textContent).toLowerCase();
      const fits = words.every(word => text.includes(word))
        && ["variant", "game"].every(name => !fields[name]?.value || fields[name].value === item.dataset[name]);
      item.hidden = !fits;
      shown += fits;
      all += 1;
    }
    output.textContent = `${shown} of ${all} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  filters.set(form.id, { fields, apply });
  apply();
}

// A number's link filters the table of runs to the runs it is computed from.
document.addEventListener("click", event => {
  const link = event.target.closest("a[data-runs]");
  const runs = filters.get("filter-runs");
  if (!link || !runs) return;
  event.preventDefault();
  runs.fields.search.value = "";
  runs.fields.variant.value = link.dataset.variant;
  runs.fields.game.value = link.dataset.game;
  runs.apply();
  const place = document.getElementById("runs");
  place.scrollIntoView();
  place.focus({ preventScroll: true });
});

// A link to a run shows its row even if the table is filtered.
addEventListener("hashchange", () => {
  const row = document.getElementById(location.hash.slice(1));
  if (row?.hidden) { row.hidden = false; row.scrollIntoView(); }
});
