"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : darkness.matches;
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
  darkness.addEventListener("change", label);
  label();

  const plots = [];
  for (const element of document.querySelectorAll(".plot")) {
    const data = JSON.parse(element.dataset.plot);
    if (!data.places.length) continue;
    data.names = data.names.split("|");
    data.values = data.values.map((column) => column.split("|"));
    const plot = {
      element, data, group: element.dataset.group,
      cross: element.querySelector(".cross"),
      values: element.closest("figure").querySelectorAll(".key .value"),
      at: null,
    };
    plots.push(plot);
    const show = (place) => { for (const other of plots) if (other === plot || (plot.group && other.group === plot.group)) point(other, place); };
    const hide = () => show(null);
    const follow = (event) => {
      const box = element.getBoundingClientRect();
      show(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    };
    element.addEventListener("pointermove", follow);
    element.addEventListener("pointerdown", follow);
    element.addEventListener("pointerleave", hide);
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", "Read out with the arrow keys");
    element.addEventListener("blur", hide);
    element.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === "Escape") return hide();
      if (!step) return;
      event.preventDefault();
      const last = data.places.length - 1;
      const next = plot.at === null ? (step > 0 ? 0 : last) : Math.min(last, Math.max(0, plot.at + step));
      show(data.places[next]);
    });
  }

  function nearest(places, place) {
    let low = 0, high = places.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (places[middle] <= place) low = middle; else high = middle;
    }
    return Math.abs(places[low] - place) <= Math.abs(places[high] - place) ? low : high;
  }

  function point(plot, place) {
    const { data, cross, values } = plot;
    if (place === null) {
      plot.at = null;
      cross.hidden = true;
      for (const value of values) value.textContent = "";
      return;
    }
    plot.at = nearest(data.places, place);
    cross.hidden = false;
    cross.style.left = `${data.places[plot.at] * 100}%`;
    cross.dataset.at = data.names[plot.at];
    data.values.forEach((column, number) => { values[number].textContent = column[plot.at]; });
  }
})();
