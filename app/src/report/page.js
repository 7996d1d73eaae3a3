
"use strict";
// Sorting and filtering of the table; without this the page shows the same.
(() => {
  const table = document.querySelector("table");
  const form = document.getElementById("filter");
  if (!table || !form) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  const sort = (column) => {
    const head = heads[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const number = head.dataset.sort === "number";
    const keyed = rows.map((row) => [row.cells[column].dataset.key, row]);
    keyed.sort(([a], [b]) => {
      // What has no value comes last, either way.
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = number ? a - b : words.compare(a, b);
      return down ? -order : order;
    });
    body.append(...keyed.map(([, row]) => row));
  };
  for (const [column, head] of heads.entries()) {
    if (!head.dataset.sort) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(column));
  }

  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const texts = rows.map((row) => plain(row.cells[1].textContent + " " + row.cells[2].textContent));
  const input = form.querySelector("input");
  const output = form.querySelector("output");
  const filter = () => {
    const wanted = plain(input.value.trim());
    let shown = 0;
    for (const [i, row] of rows.entries()) {
      row.hidden = !texts[i].includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    output.value = wanted ? `${shown} of ${rows.length} tracks` : "";
  };
  input.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;

  // A link to a track shows it, whatever the filter says, and takes the focus there.
  const follow = () => {
    const row = rows.find((row) => row.id && "#" + row.id === location.hash);
    if (!row) return;
    if (row.hidden) {
      input.value = "";
      filter();
    }
    row.focus();
  };
  window.addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#track-']");
    // The same link again changes no address.
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  follow();
})();
