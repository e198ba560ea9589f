
(() => {
  const box = document.getElementById("search");
  const rows = [...document.querySelectorAll("tr[data-words]")];
  const sections = [...document.querySelectorAll("section")];
  const search = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      row.hidden = !words.every((word) => row.dataset.words.includes(word));
    }
    for (const section of sections) {
      section.hidden = words.length > 0 && !section.querySelector("tr[data-words]:not([hidden])");
    }
    document.getElementById("nothing").hidden = !rows.length || rows.some((row) => !row.hidden);
  };
  document.querySelector(".search").hidden = false;
  box.addEventListener("input", search);
  search();
})();
