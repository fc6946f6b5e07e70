// Draws the charts from the numbers of the API, and keeps them and their tables up to date while the page is live.
"use strict";
(() => {
  const ROWS = 15;
  const HEIGHT = 125;
  const ANSWER_MS = 10000;
  const HELD = new Error("a click goes first");
  const section = document.getElementById("charts");
  if (!section || !window.uPlot) return;
  const problem = document.getElementById("charts-problem");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = new Map();
  let address = section.dataset.series;
  let shown = null;
  let asked = 0;
  let asking = null;

  const sum = (values) => values.reduce((all, value) => all + (value || 0), 0);
  const last = (values) => values.filter((value) => value !== null).pop() ?? null;
  const highest = (values) => values.reduce((best, value) => (value === null || (best !== null && best >= value) ? best : value), null);
  const scaled = (values, by) => values.map((value) => (value === null ? null : value / by));
  const digits = (value) => (Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

  // For each chart: its line, the one value of several points, and how a value reads.
  const CHARTS = {
    error_rate: {
      line: (path) => path.messages.map((count, place) => (count ? (path.errors[place] / count) * 100 : null)),
      part: (path, from, to) => {
        const messages = sum(path.messages.slice(from, to));
        return messages ? (sum(path.errors.slice(from, to)) / messages) * 100 : null;
      },
      text: (value) => value.toFixed(2) + " %",
    },
    p99_ms: {
      line: (path) => path.p99_ms,
      part: (path, from, to) => highest(path.p99_ms.slice(from, to)),
      text: (value) => value.toFixed(digits(value)) + " ms",
    },
    session_memory_bytes: {
      line: (path) => scaled(path.session_memory_bytes, 1024),
      part: (path, from, to) => last(scaled(path.session_memory_bytes.slice(from, to), 1024)),
      text: (value) => value.toFixed(1) + " KiB",
    },
    sessions: {
      line: (path) => path.sessions,
      part: (path, from, to) => last(path.sessions.slice(from, to)),
      text: (value) => value.toLocaleString("en"),
    },
  };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const two = (number) => String(number).padStart(2, "0");

  function clock(at, step) {
    const when = new Date(at * 1000);
    const time = two(when.getHours()) + ":" + two(when.getMinutes());
    if (shown.span === "30d") return when.getDate() + " " + when.toLocaleString("en", { month: "short" });
    return step < 60 ? time + ":" + two(when.getSeconds()) : time;
  }

  function moment(at) {
    const when = new Date(at * 1000);
    const day = when.getDate() + " " + when.toLocaleString("en", { month: "short" }) + " ";
    return day + two(when.getHours()) + ":" + two(when.getMinutes()) + ":" + two(when.getSeconds());
  }

  // Short, so that the line does not break while a pointer moves along.
  function legendTime(at) {
    const time = moment(at);
    return shown.step_s < 60 ? time.slice(-8) : shown.span === "30d" ? time.slice(0, -3) : time.slice(-8, -3);
  }

  // A point between two gaps would be a line of no length: it is drawn as a dot.
  function alone(plot, series) {
    const values = plot.data[series];
    const found = [];
    for (let place = 0; place < values.length; place += 1) {
      if (values[place] != null && values[place - 1] == null && values[place + 1] == null) found.push(place);
    }
    return found;
  }

  function drawMarks(plot) {
    const context = plot.ctx;
    const ratio = window.devicePixelRatio || 1;
    const { left, top, width, height } = plot.bbox;
    context.save();
    context.strokeStyle = colour("quiet");
    context.fillStyle = colour("text");
    context.lineWidth = ratio;
    context.font = 11 * ratio + "px system-ui, sans-serif";
    context.textBaseline = "top";
    // The newest word stands in any case; an older one that would run into it is left to its line and the table.
    let free = left + width;
    for (const mark of shown.marks.slice().reverse()) {
      if (mark.at < plot.scales.x.min || mark.at > plot.scales.x.max) continue;
      const place = Math.round(plot.valToPos(mark.at, "x", true));
      context.setLineDash([3 * ratio, 3 * ratio]);
      context.beginPath();
      context.moveTo(place, top);
      context.lineTo(place, top + height);
      context.stroke();
      const length = context.measureText(mark.word).width;
      const at = place + 4 * ratio + length > left + width ? place - length - 4 * ratio : place + 4 * ratio;
      if (at + length > free) continue;
      context.fillText(mark.word, at, top);
      free = at - 6 * ratio;
    }
    context.restore();
  }

  // A service that started lately has little to show: the axis then begins with it, but never shows less than a fifth.
  function reach() {
    const end = shown.start + shown.points * shown.step_s;
    const known = ["v2", "v3"].map((path) => shown.paths[path].sessions.findIndex((value) => value !== null));
    const first = Math.min(...known.map((place) => (place < 0 ? shown.points : place)), Math.floor(shown.points * 0.8));
    return [shown.start + first * shown.step_s, end];
  }

  function options(key, width) {
    const { text } = CHARTS[key];
    // Where no pointer rests the newest value stands; one that is three points old is not new.
    const value = (plot, number, series, place) => {
      const shownNow = place === null ? last(plot.data[series].slice(-3)) : number;
      return shownNow === null || shownNow === undefined ? "no data" : text(shownNow);
    };
    const points = { show: true, filter: alone, size: 5 };
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    return {
      width,
      height: HEIGHT,
      padding: [10, 0, 0, 16],
      cursor: { sync: { key: "crossfade" }, drag: { x: false, y: false } },
      legend: { live: true },
      scales: {
        x: { time: true, range: reach },
        y: { range: (_, low, high) => [0, high > 0 ? high * 1.15 : 1] },
      },
      series: [
        { label: "at", value: (_, at) => (at === null || at === undefined ? "last" : legendTime(at)) },
        { label: "v2", stroke: colour("v2"), width: 2, points, value },
        { label: "v3", stroke: colour("v3"), width: 2, dash: [6, 4], points, value },
      ],
      axes: [
        { ...axis, grid: { show: false }, size: 26, space: 70, values: (_, splits, axis, space, step) => splits.map((at) => clock(at, step)) },
        { ...axis, side: 1, size: 56, space: 34, values: (_, splits) => splits.map((number) => number.toLocaleString("en")) },
      ],
      hooks: { draw: [drawMarks] },
    };
  }

  function draw() {
    // A point stands at its end, so that what a command did shows after its mark.
    const times = Array.from({ length: shown.points }, (_, place) => shown.start + (place + 1) * shown.step_s);
    for (const place of section.querySelectorAll("[data-chart]")) {
      const key = place.dataset.chart;
      const data = [times, CHARTS[key].line(shown.paths.v2), CHARTS[key].line(shown.paths.v3)];
      if (plots.has(key)) plots.get(key).setData(data);
      else plots.set(key, new window.uPlot(options(key, place.clientWidth), data, place));
    }
  }

  function cell(row, kind, text) {
    const made = document.createElement(kind);
    made.textContent = text;
    row.append(made);
    return made;
  }

  function fillTable(body) {
    const { part, text } = CHARTS[body.dataset.table];
    const size = Math.max(1, Math.ceil(shown.points / ROWS));
    const rows = [];
    for (let from = 0; from < shown.points; from += size) {
      const to = Math.min(from + size, shown.points);
      const begin = shown.start + from * shown.step_s;
      const end = shown.start + to * shown.step_s;
      const values = ["v2", "v3"].map((path) => part(shown.paths[path], from, to));
      const marks = shown.marks.filter((mark) => mark.at >= begin && mark.at < end).map((mark) => mark.word);
      if (!marks.length && values.every((value) => value === null)) continue;
      const row = document.createElement("tr");
      const head = cell(row, "th", moment(begin));
      head.scope = "row";
      head.title = new Date(begin * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";
      for (const value of values) cell(row, "td", value === null ? "no data" : text(value));
      cell(row, "td", marks.join(", "));
      rows.unshift(row);
    }
    if (rows.length) body.replaceChildren(...rows);
  }

  function show() {
    draw();
    section.querySelectorAll("details[open] [data-table]").forEach(fillTable);
  }

  async function ask() {
    if (asking) return;
    const control = new AbortController();
    const timer = setTimeout(() => control.abort(new Error("no answer")), ANSWER_MS);
    asking = control;
    asked = Date.now();
    const wanted = address;
    try {
      const answer = await fetch(wanted, { headers: { Accept: "application/json" }, signal: control.signal });
      if (!answer.ok) throw new Error("the service answered " + answer.status);
      const numbers = await answer.json();
      if (wanted === address) {
        shown = numbers;
        show();
      }
      problem.hidden = true;
    } catch (error) {
      if (error === HELD) return;
      problem.textContent = "The charts are not up to date: " + error.message + ".";
      problem.hidden = false;
    } finally {
      clearTimeout(timer);
      asking = null;
    }
    if (wanted !== address) ask();
  }

  function redraw() {
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    if (shown) draw();
  }

  section.addEventListener("click", (event) => {
    const link = event.target.closest("[data-span]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    for (const other of section.querySelectorAll("[data-span]")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    const wanted = new URL(address, location.href);
    wanted.searchParams.set("span", link.dataset.span);
    address = wanted.pathname + wanted.search;
    window.history.replaceState(null, "", link.getAttribute("href"));
    ask();
  });
  section.addEventListener("toggle", (event) => {
    const body = event.target.open && event.target.querySelector("[data-table]");
    if (body && shown) fillTable(body);
  }, true);
  // They keep the page's time: without it the charts stand still, like everything else.
  document.addEventListener("crossfade:seen", () => {
    const every = shown ? Math.min(Math.max(shown.step_s, 5), 30) * 1000 : 5000;
    if (section.dataset.live === "yes" && Date.now() - asked >= every) ask();
  });
  document.addEventListener("crossfade:hold", () => { if (asking) asking.abort(HELD); });
  document.addEventListener("crossfade:changed", () => { if (!document.hidden && section.dataset.live === "yes") ask(); });
  dark.addEventListener("change", redraw);
  new ResizeObserver(() => {
    for (const place of section.querySelectorAll("[data-chart]")) {
      const plot = plots.get(place.dataset.chart);
      if (plot && place.clientWidth && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    }
  }).observe(section);
  ask();
})();
