"use strict";
// Draws the charts of the page and keeps them in step with its buttons. One state, one function that draws a chart.
const page = JSON.parse(document.getElementById("data").textContent);
const state = { hidden: new Set(), axis: "symlog", over: {}, menu: {}, log: {}, match: page.match };
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset" };
// Where step 0 stands on a logarithmic axis; it rounds to 0, so that the hover text reads "step 0".
const ZERO = 0.4;

const darkScreen = window.matchMedia("(prefers-color-scheme: dark)");
let onPaper = false;
const PAPER = 670;  // pixels between the margins of A4, of which Letter has more
// On a dark page: what is drawn black or in dark greys.
const LIGHT = { "#1A1A1A": "#ECECEC", "#404040": "#D0D0D0", "#E6E6E6": "#33373D", white: "#16181B" };

function isDark() {
  return darkScreen.matches && !onPaper;
}

// The same colours, or those of a dark page, in a copy of a trace or layout.
function coloured(value, key) {
  if (typeof value === "string") return /color|bgcolor/.test(key) ? (LIGHT[value] ?? value) : value;
  // Arrays of numbers and texts hold no colours, those of annotations and shapes do.
  if (Array.isArray(value)) return typeof value[0] === "object" ? value.map((of) => coloured(of, "")) : value;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, of]) => [name, coloured(of, name)]));
}

function ticks(last) {
  const values = [0];
  const room = last < 3000 ? 1.6 : 3;  // for the number of the last step
  for (let power = 1; power < last; power *= 10) {
    for (const step of last < 3000 ? [power, 3 * power] : [power]) if (step * room < last) values.push(step);
  }
  return [...values, last];
}

function stepsAxis(chart, data) {
  const over = state.over[chart.id] === "rate" && Object.keys(page.rates).length > 0;
  const place = (x) => (over ? page.rates[x] : state.axis === "symlog" && x === 0 ? ZERO : x);
  for (const trace of data) trace.x = trace.x.map(place);
  const last = data.reduce((most, trace) => trace.x.reduce((m, x) => Math.max(m, x), most), over ? 0 : 1);
  const logarithmic = state.axis === "log" || (state.axis === "symlog" && !over);
  const axis = {
    type: logarithmic ? "log" : "linear",
    title: { text: over ? "cumulative learning rate" : "step", standoff: 8 },
    unifiedhovertitle: { text: over ? "learning-rate sum %{x:.4~g}" : "step %{x:,.0f}" },
  };
  if (!logarithmic) axis.range = [-0.02 * last, 1.03 * last];
  if (logarithmic && !over) {
    axis.range = [Math.log10(state.axis === "log" ? 0.9 : 0.8 * ZERO), Math.log10(1.15 * last)];
    const shown = ticks(last).filter((step) => step > 0 || state.axis === "symlog");
    axis.tickvals = shown.map((step) => step || ZERO);
    axis.ticktext = shown.map((step) => step.toLocaleString("en"));
    if (state.axis === "symlog") axis.breakAt = Math.log10(Math.sqrt(ZERO));
  }
  return axis;
}

function visible(chart) {
  const choice = state.menu[chart.id] ?? chart.choices[0];
  return chart.data.filter(
    ({ meta }) =>
      !state.hidden.has(meta.arm) &&
      (meta.choice === undefined || meta.choice === null || meta.choice === choice) &&
      (meta.match === undefined || meta.match === state.match),
  );
}

function draw(chart) {
  const node = document.getElementById(`plot-${chart.id}`);
  const data = visible(chart).map((trace) => ({ ...trace }));
  const layout = structuredClone(chart.layout);
  if (chart.x === "panels") {
    arrangePanels(layout, data, node);
  } else if (chart.x !== "own") {
    if (chart.x !== "numbers") {
      const { breakAt, ...axis } = stepsAxis(chart, data);
      Object.assign(layout.xaxis, axis);
      // Step 0 has no place on a logarithmic axis: two strokes where the axis is broken for it.
      if (breakAt !== undefined) layout.annotations = [{
        x: breakAt, y: 0, xref: "x", yref: "paper", text: "//", showarrow: false, font: { size: 13 }, bgcolor: "white",
        borderpad: 0, yshift: -1,
      }];
    }
    layout.yaxis.type = state.log[chart.id] ? "log" : "linear";
    if (state.log[chart.id]) {
      // What is not positive has no place on this axis; plotly would draw a line down to its edge.
      for (const trace of data) trace.y = trace.y.map((y) => (y > 0 ? y : null));
      Object.assign(layout.yaxis, { exponentformat: "e", dtick: decades(data) });
    }
  } else {
    // Long names of layers would leave no room for the map.
    const narrow = node.clientWidth < 520;
    if (narrow) layout.yaxis.tickfont.size = 7;
    thinTicks(layout.xaxis, data[0].x, node.clientWidth - (narrow ? 110 : 150));
  }
  if (!isDark()) return window.Plotly.react(node, data, layout, CONFIG);
  return window.Plotly.react(node, data.map((trace) => coloured(trace, "")), coloured(layout, ""), CONFIG);
}

// As many squares in a row as have room for what is in them; rows make the chart higher.
function arrangePanels(layout, data, node) {
  const count = new Set(data.map((trace) => trace.xaxis)).size;
  const rows = Math.ceil(count / Math.max(1, Math.floor(node.clientWidth / 165)));
  const columns = Math.ceil(count / rows);
  layout.grid = { rows, columns, pattern: "independent", xgap: 0.05, ygap: 0.14 };
  layout.height = Math.round(layout.margin.t + layout.margin.b + (rows * node.clientWidth) / columns);
  node.style.minHeight = `${layout.height}px`;
}

// Leaves out ticks that would run into the one at their right, and those of other maps' columns.
function thinTicks(axis, columns, width) {
  const place = (i) => (columns.indexOf(axis.tickvals[i]) * width) / columns.length;
  const kept = [];
  for (let i = axis.tickvals.length - 1; i >= 0; i--) {
    if (!columns.includes(axis.tickvals[i])) continue;
    if (kept.length === 0 || place(kept[0]) - place(i) > 30) kept.unshift(i);
  }
  axis.tickvals = kept.map((i) => axis.tickvals[i]);
  axis.ticktext = kept.map((i) => axis.ticktext[i]);
}

// One tick a decade where the values span several: plotly would write the digits between them.
function decades(data) {
  const values = data.flatMap((trace) => trace.y.filter((y) => y > 0));
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), 0);
  const span = Math.log10(high / low);
  return span > 1.5 ? Math.max(1, Math.round(span / 5)) : undefined;
}

function drawAll() {
  return Promise.all(page.charts.map(draw));
}

function press(button, on) {
  button.setAttribute("aria-pressed", String(on));
}

function showBeside(id) {
  const choice = state.menu[id];
  for (const words of document.querySelectorAll(`[data-chart="${id}"]`)) words.hidden = words.dataset.choice !== choice;
}

function showMatched() {
  for (const words of document.querySelectorAll("[data-of-match]")) words.hidden = words.dataset.ofMatch !== state.match;
}

function listen() {
  const chartOf = (id) => page.charts.find((chart) => chart.id === id);
  document.querySelectorAll("[data-arm]").forEach((button) =>
    button.addEventListener("click", () => {
      const arm = button.dataset.arm;
      if (!state.hidden.delete(arm)) state.hidden.add(arm);
      press(button, !state.hidden.has(arm));
      drawAll();
    }),
  );
  const axes = document.querySelectorAll("[data-axis]");
  axes.forEach((button) =>
    button.addEventListener("click", () => {
      state.axis = button.dataset.axis;
      axes.forEach((other) => press(other, other === button));
      drawAll();
    }),
  );
  const matches = document.querySelectorAll("[data-match]");
  matches.forEach((button) =>
    button.addEventListener("click", () => {
      state.match = button.dataset.match;
      matches.forEach((other) => press(other, other === button));
      showMatched();
      drawAll();
    }),
  );
  showMatched();
  document.querySelectorAll("[data-menu]").forEach((menu) => {
    const id = menu.dataset.menu;
    const choose = () => {
      state.menu[id] = menu.value;
      showBeside(id);
    };
    choose();
    menu.addEventListener("change", () => { choose(); draw(chartOf(id)); });
  });
  document.querySelectorAll("[data-over]").forEach((menu) => {
    if (Object.keys(page.rates).length === 0) menu.querySelector('[value="rate"]').disabled = true;
    state.over[menu.dataset.over] = menu.value;
    menu.addEventListener("change", () => { state.over[menu.dataset.over] = menu.value; draw(chartOf(menu.dataset.over)); });
  });
  document.querySelectorAll("[data-log]").forEach((box) => {
    state.log[box.dataset.log] = box.checked;
    box.addEventListener("change", () => { state.log[box.dataset.log] = box.checked; draw(chartOf(box.dataset.log)); });
  });
  // Paper is white, and every plot is as wide as the paper; its own width there is not known before it is laid out.
  const print = (on) => () => {
    onPaper = on;
    if (darkScreen.matches) drawAll();
    for (const { id } of page.charts) {
      const node = document.getElementById(`plot-${id}`);
      if (on) window.Plotly.relayout(node, { width: PAPER, autosize: false });
      else window.Plotly.relayout(node, { width: null, autosize: true });
    }
  };
  window.addEventListener("beforeprint", print(true));
  window.addEventListener("afterprint", print(false));
  darkScreen.addEventListener("change", drawAll);
}

async function loadPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function apologise(why) {
  const banner = document.getElementById("banner");
  banner.textContent = `The charts cannot be drawn here: ${why}. Tables and words are complete; the same curves are in the PNG and SVG files beside this page.`;
  banner.hidden = false;
}

async function main() {
  if (typeof DecompressionStream === "undefined" || typeof structuredClone === "undefined") {
    apologise("this browser lacks DecompressionStream, which Chrome 98, Firefox 113, Safari 16.4 and later have");
    return;
  }
  await loadPlotly();
  listen();
  await drawAll();
  document.documentElement.dataset.drawn = String(page.charts.length);
}

main().catch((error) => { apologise(String(error)); console.error(error); });
