"use strict";

// Looks at /status every second and at the first hundred of /connections every two, and draws.
// What the daemon says is only ever set as text, so that no name can become a part of the page.

const STATUS_EVERY = 1000; // milliseconds
const CONNECTIONS_EVERY = 2000;
const CONNECTIONS_SHARE = 50; // of the time, at most one part in so many is spent on that list
const PATIENCE = 5000; // milliseconds until an answer counts as missing
const HISTORY = 300; // seconds that charts show
const LISTED = 100; // connections of the live list
const RENDERED_MAX = 1000; // rows of a table; more would make the browser slow

const byId = (id) => document.getElementById(id);

// Numbers for people

const whole = new Intl.NumberFormat("en");

function amount(value, unit) {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let i = 0;
  while (value >= 999.5 && i < prefixes.length - 1) {
    value /= 1000;
    i += 1;
  }
  const digits = i === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)}\u2009${prefixes[i]}${unit}`;
}

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s}\u2009s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${pad(s % 60)}`;
  if (s < 86400) return `${Math.floor(s / 3600)}:${pad(Math.floor((s % 3600) / 60))}:${pad(s % 60)}`;
  return `${Math.floor(s / 86400)}\u2009d ${Math.floor((s % 86400) / 3600)}\u2009h`;
}

const FORMATS = {
  text: (v) => (v === null || v === undefined ? "" : String(v)),
  word: (v) => String(v ?? "").replaceAll("_", " "),
  count: (v) => (v === null || v === undefined ? "" : whole.format(v)),
  bytes: (v) => (v === null || v === undefined ? "" : amount(v, "B")),
  rate: (v) => (v ? amount(v, "B/s") : "0"),
  time: (v) => (v === null || v === undefined ? "" : duration(v)),
};

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Tables

// A table has columns [field, title, kind], rows that are objects, and an order.  With `ask`,
// whoever has the rows sorts them; without, the table does.
function makeTable(id, columns, sort, descending, ask) {
  const table = { element: byId(id), columns, sort, descending, ask, rows: [], shown: "" };
  table.head = table.element.createTHead();
  table.body = table.element.createTBody();
  table.filter = byId(`${id}-filter`);
  table.filter.addEventListener("input", () => draw(table));
  return table;
}

function drawHead(table, columns) {
  const row = document.createElement("tr");
  for (const [field, title, kind] of columns) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    cell.scope = "col";
    cell.dataset.field = field;
    cell.className = isNumber(kind) ? "number" : "";
    button.type = "button";
    button.textContent = title;
    button.addEventListener("click", () => {
      table.descending = table.sort === field ? !table.descending : isNumber(kind);
      table.sort = field;
      draw(table);
      if (table.ask) table.ask();
    });
    cell.append(button);
    row.append(cell);
  }
  table.head.replaceChildren(row);
  table.body.replaceChildren();
}

const isNumber = (kind) => kind !== "text" && kind !== "word";

function sorted(table, rows) {
  if (table.ask) return rows;
  const sign = table.descending ? -1 : 1;
  const order = (a, b) => (a === b ? 0 : (a ?? -1) < (b ?? -1) ? -1 : 1);
  return [...rows].sort((a, b) => sign * order(a[table.sort], b[table.sort]));
}

// The rows that have what was typed; each word of it, in any column.
function matching(table) {
  const words = table.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return table.rows;
  return table.rows.filter((row) => {
    const text = table.columns.map(([field]) => row[field]).join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function draw(table) {
  // a column that says nothing of any row, or may be left out, is
  const columns = table.columns.filter(
    ([field, , , optional]) => !optional || table.rows.some((row) => optional(row[field])),
  );
  const shown = columns.map(([field]) => field).join();
  if (table.shown !== shown) drawHead(table, columns);
  table.shown = shown;
  for (const cell of table.head.rows[0].cells) {
    if (cell.dataset.field !== table.sort) cell.removeAttribute("aria-sort");
    else cell.setAttribute("aria-sort", table.descending ? "descending" : "ascending");
  }
  const found = matching(table);
  const rows = sorted(table, found).slice(0, RENDERED_MAX);
  const body = table.body;
  while (body.rows.length > rows.length) body.lastChild.remove();
  rows.forEach((row, i) => {
    let line = body.rows[i];
    if (!line) {
      line = body.insertRow();
      columns.forEach(() => line.insertCell());
    }
    columns.forEach(([field, , kind], j) => {
      const cell = line.cells[j];
      const text = FORMATS[kind](row[field]);
      put(cell, text);
      if (kind === "text" && cell.title !== text) cell.title = text;
      cell.className = isNumber(kind) ? "number" : field === "state" ? String(row[field]) : "";
    });
  });
  table.found = found.length;
  if (table.afterwards) table.afterwards();
}

// Charts

const SVG = "http://www.w3.org/2000/svg";

function svg(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
}

// The points are [time, first, second]; null is a gap.
function makeChart(id, names, format) {
  const chart = { element: byId(id), legend: byId(`${id}-legend`), names, format, points: [], at: null };
  chart.element.addEventListener("pointermove", (event) => {
    chart.at = event.offsetX;
    drawChart(chart);
  });
  chart.element.addEventListener("pointerleave", () => {
    chart.at = null;
    drawChart(chart);
  });
  return chart;
}

function addPoint(chart, time, first, second) {
  chart.points.push([time, first, second]);
  while (chart.points[0][0] < time - HISTORY - 2) chart.points.shift();
  drawChart(chart);
}

// The least of 1, 1.5, 2, 3, … that is not less.
function roundUp(value) {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 4, 6, 8, 10].find((step) => step * power >= value);
}

// Without zeros at the end of a fraction.
const short = (text) => text.replace(/(\.\d*?)0+(?=\u2009)/, "$1").replace(".\u2009", "\u2009");

function drawChart(chart) {
  const { element, points, format } = chart;
  const width = element.clientWidth || 600;
  const height = element.clientHeight || 170;
  const left = 66;
  const bottom = height - 18;
  const last = points.length ? points[points.length - 1][0] : 0;
  const top = roundUp(Math.max(0, ...points.flatMap(([, a, b]) => [a ?? 0, b ?? 0])) * 1.05);
  const x = (time) => width - ((last - time) / HISTORY) * (width - left);
  const y = (value) => bottom - (value / top) * (bottom - 8);
  const seen = points.filter(([time]) => time >= last - HISTORY);
  element.replaceChildren();
  for (const part of [0, 0.5, 1]) {
    svg(element, "line", { class: "grid", x1: left, x2: width, y1: y(top * part), y2: y(top * part) });
    svg(element, "text", { x: left - 8, y: y(top * part) + 4, "text-anchor": "end" }, short(format(top * part)));
  }
  for (const minutes of width < 480 ? [5, 3, 1] : [5, 4, 3, 2, 1]) {
    const anchor = minutes * 60 === HISTORY ? "start" : "middle";
    svg(element, "text", { x: x(last - minutes * 60), y: height - 2, "text-anchor": anchor }, `−${minutes} min`);
  }
  svg(element, "text", { x: width, y: height - 2, "text-anchor": "end" }, "now");
  for (const [n, name] of [[1, "first"], [2, "second"]]) {
    let path = "";
    let begun = false;
    for (const point of seen) {
      if (point[n] !== null) path += `${begun ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[n]).toFixed(1)}`;
      begun = point[n] !== null;
    }
    const drawn = seen.filter((point) => point[n] !== null);
    if (n === 1 && drawn.length > 1 && drawn.length === seen.length) {
      const close = `L${x(last).toFixed(1)} ${bottom}L${x(drawn[0][0]).toFixed(1)} ${bottom}Z`;
      svg(element, "path", { class: "area", d: path + close });
    }
    svg(element, "path", { class: name, d: path });
  }
  let point = seen[seen.length - 1];
  if (chart.at !== null && seen.length) {
    const distance = ([time]) => Math.abs(x(time) - chart.at);
    point = seen.reduce((best, each) => (distance(each) < distance(best) ? each : best));
    svg(element, "line", { class: "cursor", x1: x(point[0]), x2: x(point[0]), y1: 8, y2: bottom });
  }
  drawLegend(chart, point);
}

function drawLegend(chart, point) {
  if (!chart.legend.children.length) {
    for (const name of ["first", "second"]) {
      const entry = document.createElement("span");
      entry.className = name;
      entry.append(document.createElement("i"), document.createElement("span"));
      chart.legend.append(entry);
    }
  }
  chart.names.forEach((name, i) => {
    const value = point ? point[i + 1] : null;
    put(chart.legend.children[i].lastChild, value === null ? name : `${name} ${chart.format(value)}`);
  });
}

// What is shown

const throughput = makeChart("throughput", ["sealed", "opened"], (v) => amount(v, "B/s"));
const load = makeChart("load", ["open", "unauthenticated"], (v) => whole.format(Math.round(v)));

const connections = makeTable(
  "connections",
  [
    ["id", "Id", "text"],
    ["pipe", "Pipe", "text", () => severalPipes],
    ["key", "Key", "text", Boolean],
    ["peer", "Peer", "text"],
    ["target", "Target", "text"],
    ["state", "State", "word"],
    ["age", "Age", "time"],
    ["idle", "Idle", "time"],
    ["sealed", "Sealed", "bytes"],
    ["opened", "Opened", "bytes"],
    ["sealed_rate", "Sealed, now", "rate"],
    ["opened_rate", "Opened, now", "rate"],
    ["queued", "Queued", "bytes"],
    ["worker", "Worker", "count"],
  ],
  "age",
  true,
  () => askForConnections(),
);

const workers = makeTable(
  "workers",
  [
    ["id", "Id", "count"],
    ["pid", "Process", "text"],
    ["generation", "Generation", "count"],
    ["state", "State", "word"],
    ["active", "Open", "count"],
    ["accepted", "Accepted", "count"],
    ["cpu_seconds", "CPU time", "time"],
    ["memory_bytes", "Memory", "bytes"],
  ],
  "id",
  false,
);

const targets = makeTable(
  "targets",
  [
    ["pipe", "Pipe", "text"],
    ["name", "Target", "text"],
    ["state", "State", "word"],
    ["addresses", "Addresses", "text"],
    ["resolved", "Looked up, ago", "time"],
    ["failures", "Failures", "count", (value) => value !== undefined],
  ],
  "name",
  false,
);

const causes = makeTable(
  "causes",
  [
    ["cause", "Cause", "word"],
    ["count", "Connections", "count"],
    ["recent", "Since this page was opened", "count"],
  ],
  "count",
  true,
);

let severalPipes = false;
let before = null; // the status that was seen last,
let firstEnds = null; // and how many connections had ended, by cause, when this page was opened

// Causes of an end that is no failure
const noFailures = ["ended", "killed", "shut_down", "left_at_once"];

const total = (list, get) => list.reduce((sum, each) => sum + (get(each) ?? 0), 0);

function summary(status) {
  const pipes = status.pipes;
  const ends = {};
  for (const pipe of pipes) {
    for (const [cause, count] of Object.entries(pipe.connections.ended)) {
      ends[cause] = (ends[cause] ?? 0) + count;
    }
  }
  const ended = total(Object.values(ends), (count) => count);
  return {
    now: status.now,
    started: status.started,
    active: total(pipes, (p) => p.connections.active),
    unauthenticated: total(pipes, (p) => p.connections.unauthenticated),
    limit: pipes.some((p) => !p.connections.limit) ? 0 : total(pipes, (p) => p.connections.limit),
    accepted: total(pipes, (p) => p.connections.accepted),
    sealed: total(pipes, (p) => p.bytes.sealed),
    opened: total(pipes, (p) => p.bytes.opened),
    ends,
    ended,
    failed: ended - total(noFailures, (cause) => ends[cause]),
  };
}

function showStatus(status) {
  const name = status.name || status.program || "spiped";
  put(byId("name"), name);
  const state = status.state ?? "starting";
  put(byId("state"), state === "lame_duck" ? "shutdown announced" : state);
  byId("state").className = `badge ${state}`;
  document.title = `${name} – ${state.replace("_", " ")}`;
  const parts = [`version ${status.version ?? "?"}`, `process ${status.pid ?? "?"}`];
  if (status.started) parts.push(`up ${duration(status.now - status.started)}`);
  parts.push(`generation ${status.generation ?? "?"}`);
  for (const pipe of status.pipes) parts.push(`${pipe.mode}s ${pipe.source}`);
  put(byId("about"), parts.join(" · "));
  const last = status.reloads.last;
  trouble("reload", last && last.error ? `The last reload failed: ${last.error}` : "");

  const now = summary(status);
  severalPipes = status.pipes.length > 1;
  firstEnds ??= now.ends;
  const passed = before ? now.now - before.now : 0;
  // another start of the daemon begins to count anew
  const goesOn = before && passed > 0 && before.started === now.started && now.sealed >= before.sealed;
  const rate = (field) => (goesOn ? Math.max(0, (now[field] - before[field]) / passed) : null);
  const sealed = rate("sealed");
  const opened = rate("opened");
  const accepted = rate("accepted");
  if (before && before.started !== now.started) firstEnds = now.ends;
  before = now;
  put(byId("active"), whole.format(now.active));
  const limit = now.limit ? `limit ${whole.format(now.limit)} · ` : "";
  put(byId("active-note"), `${limit}${whole.format(now.unauthenticated)} unauthenticated`);
  put(byId("new"), accepted === null ? "–" : accepted.toFixed(accepted < 10 ? 1 : 0));
  put(byId("new-note"), `${whole.format(now.accepted)} accepted`);
  put(byId("sealed"), sealed === null ? "–" : amount(sealed, "B/s"));
  put(byId("sealed-note"), `${amount(now.sealed, "B")} so far`);
  put(byId("opened"), opened === null ? "–" : amount(opened, "B/s"));
  put(byId("opened-note"), `${amount(now.opened, "B")} so far`);
  put(byId("failed"), whole.format(now.failed));
  put(byId("failed-note"), `of ${whole.format(now.ended)} that have ended`);
  addPoint(throughput, now.now, sealed, opened);
  addPoint(load, now.now, now.active, now.unauthenticated);

  workers.rows = status.workers;
  targets.rows = status.pipes.flatMap((pipe) =>
    (pipe.targets ?? []).map((target) => ({
      ...target,
      pipe: pipe.name,
      addresses: (target.addresses ?? []).join(" "),
      resolved: target.resolved ? now.now - target.resolved : null,
    })),
  );
  causes.rows = Object.entries(now.ends)
    .filter(([, count]) => count > 0)
    .map(([cause, count]) => ({ cause, count, recent: count - (firstEnds[cause] ?? 0) }));
  [workers, targets, causes].forEach(draw);
}

// What is wrong, by where it was noticed
const troubles = new Map();

function trouble(where, text) {
  if (text) troubles.set(where, text);
  else troubles.delete(where);
  byId("trouble").hidden = troubles.size === 0;
  put(byId("trouble"), [...troubles.values()].join(" "));
}

// Asking

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE) });
  if (!response.ok) throw new Error(`${response.status}: ${(await response.text()).trim()}`);
  return response.json();
}

async function askForStatus() {
  try {
    showStatus(await get("/status"));
    trouble("status", "");
  } catch (error) {
    put(byId("state"), "no answer");
    byId("state").className = "badge lost";
    trouble("status", `The daemon does not answer (${error.message}). What is shown is old.`);
  }
  setTimeout(askForStatus, STATUS_EVERY);
}

let list = null; // the answer that is shown
let isWhole = false; // all connections are shown, as they were when that was asked for
let asked = 0; // answers to all but the last question come too late
let timer = null;

async function askForConnections() {
  asked += 1;
  const mine = asked;
  clearTimeout(timer);
  const order = connections.descending ? "desc" : "asc";
  const limit = isWhole ? 0 : LISTED;
  const begun = performance.now();
  try {
    const answer = await get(`/connections?sort=${connections.sort}&order=${order}&limit=${limit}`);
    if (mine !== asked) return;
    list = answer;
    connections.rows = answer.connections;
    draw(connections);
    trouble("connections", "");
  } catch (error) {
    if (mine !== asked) return;
    trouble("connections", `The list of connections is old (${error.message}).`);
  }
  const pause = Math.max(CONNECTIONS_EVERY, CONNECTIONS_SHARE * (performance.now() - begun));
  if (!isWhole) timer = setTimeout(askForConnections, pause);
}

connections.afterwards = () => {
  if (!list) return;
  const parts = [];
  if (connections.filter.value.trim()) parts.push(`${whole.format(connections.found)} match, of`);
  parts.push(`${whole.format(list.listed)} of ${whole.format(list.total)}`);
  if (connections.found > RENDERED_MAX) parts.push(`(${whole.format(RENDERED_MAX)} rows shown)`);
  if (isWhole) parts.push(`as of ${new Date(list.now * 1000).toLocaleTimeString()}`);
  if (list.hidden) parts.push(`– ${whole.format(list.hidden)} have no place in the table`);
  put(byId("connections-note"), parts.join(" "));
  byId("all").hidden = !isWhole && list.listed + list.hidden >= list.total;
  put(byId("all"), isWhole ? "Look again" : "Show all");
  byId("live").hidden = !isWhole;
};

function choose(all) {
  isWhole = all;
  askForConnections();
}

byId("all").addEventListener("click", () => choose(true));
byId("live").addEventListener("click", () => choose(false));
window.addEventListener("resize", () => [throughput, load].forEach(drawChart));

askForStatus();
askForConnections();
