"use strict";
// Sorting of the leaderboard. Blank cells stay last, whichever way the others go.
(() => {
  const table = document.querySelector("[data-sortable]"), said = document.getElementById("sorted");
  if (!table) return;
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value;
  const numbers = (column) => [...body.rows].every((row) => value(row, column) === "" || !isNaN(value(row, column)));
  const sort = (column) => {
    const head = heads[column], asNumbers = numbers(column);
    // Ranks and names begin with the first, metrics with the highest.
    const first = column < 2 ? "ascending" : "descending", second = column < 2 ? "descending" : "ascending";
    const way = head.getAttribute("aria-sort") === first ? second : first;
    const sign = way === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const x = value(a, column), y = value(b, column);
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (asNumbers && column !== 1 ? x - y : x.localeCompare(y));
    };
    body.append(...[...body.rows].sort(compare));
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    said.textContent = "Sorted by " + head.querySelector("button").textContent + ", " + way + ".";
  };
  for (const button of table.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => sort(Number(button.dataset.sort)));
  }
})();
