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

  const three = (value) => {
    const decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
    return String(Number(value.toFixed(decimals)));
  };
  const clock = (seconds) => {
    const whole = Math.round(Math.abs(seconds));
    const two = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const sign = seconds <= -0.5 ? "−" : "";
    return sign + (hours ? `${hours}:${two(minutes)}` : minutes) + ":" + two(whole % 60);
  };
  const duration = (ns) => {
    for (const [unit, size, limit] of [["ns", 1, 1e3], ["µs", 1e3, 1e6], ["ms", 1e6, 1e9], ["s", 1e9, 6e10]])
      if (Number(three(ns / size)) * size < limit) return `${three(ns / size)} ${unit}`;
    return clock(ns / 1e9);
  };
  const write = {
    duration,
    count: (n) => n.toLocaleString("en", { maximumFractionDigits: 1 }),
    rate: (n) => `${Number(n.toPrecision(4)).toLocaleString("en")}/s`,
    cores: (n) => n.toFixed(2),
    megabytes: (n) => `${n.toFixed(0)} MB`,
  };

  const plots = [];
  for (const element of document.querySelectorAll(".plot")) {
    const data = JSON.parse(element.dataset.plot);
    if (!data.x.length) continue;
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
      const last = data.x.length - 1;
      const next = plot.at === null ? (step > 0 ? 0 : last) : Math.min(last, Math.max(0, plot.at + step));
      show(data.x[next]);
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
    plot.at = nearest(data.x, place);
    const at = data.x[plot.at];
    cross.hidden = false;
    cross.style.left = `${at * 100}%`;
    cross.dataset.at = data.labels ? data.labels[plot.at] : clock(data.span[0] + at * (data.span[1] - data.span[0]));
    data.s.forEach((series, number) => {
      const value = series.v[plot.at];
      values[number].textContent = value === null ? "–" : write[series.k](value);
    });
  }
})();
