"use strict";
// Asks for the run's curves every two seconds and draws what has changed. Zoom and buttons stay as they are.
const EVERY_MS = 2000;
const ZERO = 0.4; // where step 0 stands on a logarithmic axis
const DASHES = { "-": "", "--": "7 4", "-.": "8 3 2 3", ":": "2 3" };
// Lines that would not be seen on a dark page.
const ON_DARK = { "#1A1A1A": "#E8E8E8", "#404040": "#B0B0B0", "#6E6E6E": "#9A9A9A", "#0072B2": "#4FA3D9" };
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const state = { hidden: new Set(), log: {}, version: "", content: null, lost: 0 };
const at = (id) => document.getElementById(id);

function made(name, text, attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function colour(value) {
  return dark.matches ? (ON_DARK[value] ?? value) : value;
}

function swatch(arm) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  for (const [key, value] of Object.entries({ width: 28, height: 10, "aria-hidden": true })) svg.setAttribute(key, value);
  const looks = { x1: 1, x2: 27, y1: 5, y2: 5, stroke: colour(arm.colour), "stroke-width": 2.5 };
  for (const [key, value] of Object.entries({ ...looks, "stroke-dasharray": DASHES[arm.line] })) line.setAttribute(key, value);
  svg.append(line);
  return svg;
}

function showHead({ title, words, state: doing, progress, facts, arms }) {
  document.title = `${Math.floor(100 * progress)} % · ${title}`;
  at("title").textContent = title;
  at("words").textContent = words;
  at("words").className = doing.replace(" ", "-");
  at("bar").setAttribute("aria-valuenow", Math.round(100 * progress));
  at("bar").firstElementChild.style.width = `${100 * progress}%`;
  at("facts").replaceChildren(
    ...facts.map(([name, value]) => {
      const row = document.createElement("div");
      row.append(made("dt", name), made("dd", value));
      return row;
    }),
  );
  at("arms").replaceChildren(
    ...arms.map((arm) => {
      const button = made("button", arm.label, { type: "button", "aria-pressed": String(!state.hidden.has(arm.name)) });
      button.prepend(swatch(arm));
      button.addEventListener("click", () => {
        if (!state.hidden.delete(arm.name)) state.hidden.add(arm.name);
        again();
      });
      return button;
    }),
  );
}

// Plots take the width that they have, whatever changed it.
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.data) window.Plotly.Plots.resize(target);
});

function figureOf(chart) {
  const known = at(`figure-${chart.id}`);
  if (known) return known;
  const figure = made("figure", "", { id: `figure-${chart.id}` });
  const caption = document.createElement("figcaption");
  const label = made("label", "");
  const box = made("input", "", { type: "checkbox" });
  box.checked = state.log[chart.id] = chart.log;
  box.addEventListener("change", () => { state.log[chart.id] = box.checked; again(); });
  label.append(box, " log y");
  caption.append(made("h2", chart.title), label, made("p", chart.lead));
  const plot = made("div", "", { class: "plot", role: "img", "aria-label": chart.title });
  figure.append(caption, plot);
  sizes.observe(plot);
  const order = ["cka", "rsa", "weight_gap", "gap", "loss"].map((id) => `figure-${id}`);
  const next = [...at("charts").children].find((other) => order.indexOf(other.id) > order.indexOf(figure.id));
  at("charts").insertBefore(figure, next ?? null);
  return figure;
}

function layoutOf(chart, data) {
  const [ink, grid] = dark.matches ? ["#E8E8E8", "#3A3A3A"] : ["#1A1A1A", "#E6E6E6"];
  const paper = dark.matches ? "#171717" : "#FFFFFF";
  const axis = { gridcolor: grid, zeroline: false, automargin: true, ticks: "outside", tickcolor: grid };
  const log = at("axis").value === "log";
  const last = data.reduce((most, trace) => trace.x.reduce((m, x) => Math.max(m, x), most), 1);
  const x = { ...axis, type: log ? "log" : "linear", title: { text: "step", standoff: 6 } };
  if (log) {
    const ticks = [0];
    for (let power = 1; power <= 1.15 * last; power *= 10) ticks.push(power);
    Object.assign(x, { tickvals: ticks.map((step) => step || ZERO), ticktext: ticks.map((step) => step.toLocaleString("en")) });
    x.range = [Math.log10(0.8 * ZERO), Math.log10(1.15 * last)];
  }
  return {
    xaxis: { ...x, unifiedhovertitle: { text: "step %{x:,.0f}" } },
    yaxis: { ...axis, type: state.log[chart.id] ? "log" : "linear", exponentformat: "e" },
    margin: { l: 48, r: 8, t: 8, b: 40 },
    font: { size: 12, color: ink },
    hoverlabel: { bgcolor: paper, font: { size: 12, color: ink } },
    paper_bgcolor: paper,
    plot_bgcolor: paper,
    showlegend: false,
    hovermode: "x unified",
    uirevision: `${at("axis").value} ${state.log[chart.id]}`, // what was enlarged stays so
  };
}

function draw(chart) {
  const plot = figureOf(chart).querySelector(".plot");
  const data = chart.data.filter(({ meta }) => !state.hidden.has(meta.arm)).map((trace) => ({ ...trace }));
  const log = at("axis").value === "log";
  for (const trace of data) {
    trace.x = trace.x.map((x) => (log && x === 0 ? ZERO : x));
    // What is not positive has no place on this axis; plotly would draw a line down to its edge.
    if (state.log[chart.id]) trace.y = trace.y.map((y) => (y > 0 ? y : null));
    trace.line = { ...trace.line, color: colour(trace.line.color) };
    if (trace.marker) trace.marker = { ...trace.marker, color: colour(trace.marker.color) };
  }
  return window.Plotly.react(plot, data, layoutOf(chart, data), { displaylogo: false, displayModeBar: false });
}

async function show() {
  if (state.content === null) return;
  showHead(state.content);
  const there = new Set(state.content.charts.map((chart) => `figure-${chart.id}`));
  for (const figure of [...at("charts").children]) if (!there.has(figure.id)) figure.remove();
  at("empty").hidden = there.size > 0;
  await Promise.all(state.content.charts.map(draw));
  document.documentElement.dataset.drawn = String(there.size);
}

// Drawn again by a click: what goes wrong is said on the page, as for what is new.
function again() {
  show().catch(unshown);
}

function unshown(error) {
  banner(`The page cannot show what it was given: ${error}.`);
  console.error(error);
}

function banner(text) {
  at("banner").textContent = text;
  at("banner").hidden = text === "";
}

// What could not be shown is asked for again: only what is on the page is known.
async function take(answer) {
  try {
    state.content = await answer.json();
    await show();
    state.version = answer.headers.get("ETag") ?? "";
    banner("");
  } catch (error) {
    unshown(error);
  }
}

async function ask() {
  try {
    const answer = await fetch("curves.json", { headers: { "If-None-Match": state.version }, cache: "no-store" });
    if (answer.status !== 200 && answer.status !== 304) throw new Error(String(answer.status));
    state.lost = 0;
    if (answer.status === 200) await take(answer);
  } catch (error) {
    state.lost += 1;
    if (state.lost > 1) banner("The command that watches the run has ended: this is what it last saw.");
    console.error(error);
  }
  setTimeout(ask, EVERY_MS);
}

at("axis").addEventListener("change", again);
dark.addEventListener("change", again);
ask();
