"use strict";
(() => {
  const [filter, text, status, count] = ["filter", "text", "status", "count"]
    .map((id) => document.getElementById(id));
  if (filter) {
    const rows = [...document.querySelectorAll("tr[data-status]")];
    const words = rows.map((row) => row.textContent.toLowerCase());
    // A head without rows would say that nothing failed.
    const tables = new Set(rows.map((row) => row.closest(".scroll")));
    const families = [...document.querySelectorAll(".families > details")];
    const apply = () => {
      const wanted = text.value.toLowerCase().split(/\s+/);
      const chosen = status.value;
      let shown = 0;
      rows.forEach((row, at) => {
        const fits = wanted.every((word) => words[at].includes(word)) &&
          (!chosen || row.dataset.status.split(" ").includes(chosen));
        row.hidden = !fits;
        shown += fits;
      });
      const filtered = chosen || text.value.trim();
      const empty = (part) => !part.querySelector("tr[data-status]:not([hidden])");
      for (const table of tables) table.hidden = empty(table);
      for (const family of families) {
        family.hidden = empty(family);
        family.open = Boolean(filtered) && !family.hidden;
      }
      count.value = filtered ? `${shown} of ${rows.length} tests` : "";
    };
    filter.addEventListener("input", apply);
    filter.hidden = false;
    apply();
  }
  // What a link leads to may be folded away.
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
