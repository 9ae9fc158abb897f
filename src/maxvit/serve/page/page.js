// The page: an image goes to the server, and what comes back is drawn. No library, nothing from elsewhere.

import { samples } from "./samples.js";
import { tables } from "./tables.js";

const byId = (id) => document.getElementById(id);
// example: the image is ours; models: all that are served, by name.
const state = { file: null, point: null, class: null, answer: null, drawn: false, found: false, example: false, asked: 0, models: {} };
const SIMILAR = 12;

// A number from 0 to 1 as a colour from dark blue over red to yellow, in even steps of lightness.
function colour(share) {
  const stops = [[13, 8, 60], [110, 30, 120], [200, 60, 80], [245, 140, 40], [250, 235, 110]];
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((from, i) => Math.round(from + (stops[low + 1][i] - from) * (at - low)));
}

// What is drawn brightest: the largest share, but no less than three times an even one, so that even shares look even.
function brightest(shares) {
  return Math.max(...shares, 3 * shares.reduce((sum, share) => sum + share, 0) / shares.length, 1e-12);
}

function say(sentence, bad = false) {
  byId("status").textContent = sentence;
  byId("status").classList.toggle("bad", bad);
}

async function call(path, options = {}) {
  const key = byId("key").value;
  const headers = { ...(options.headers ?? {}), ...(key ? { "X-API-Key": key } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) byId("key-row").hidden = false;
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? problem.error ?? `the server answered ${response.status}`);
  }
  return response.json();
}

async function listModels() {
  const { models } = await call("/v1/models");
  state.models = Object.fromEntries(models.map((model) => [model.name, model]));
  byId("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
}

// Forget what was asked of another image or another network.
function forget() {
  Object.assign(state, { point: null, class: null, answer: null, drawn: false, found: false });
  for (const id of ["classes", "summary", "tables", "map-title", "timings", "layers", "pictures"]) byId(id).replaceChildren();
}

const path = () => `/v1/models/${encodeURIComponent(byId("model").value)}`;

function explaining() {
  const query = new URLSearchParams({ method: byId("method").value });
  if (state.point) { query.set("x", state.point[0]); query.set("y", state.point[1]); }
  if (state.class !== null) query.set("of", state.class);
  return `${path()}/explain?${query}`;
}

const send = (where) => call(where, { method: "POST", body: state.file, headers: { "Content-Type": state.file.type } });

async function ask() {
  if (!state.file) return;
  const asked = ++state.asked;
  say("Looking …");
  const begin = performance.now();
  try {
    if (!byId("model").value) await listModels();
    let answer = await send(explaining());
    if (state.example && !state.point && asked === state.asked) {
      state.point = strongest(answer);
      answer = await send(explaining());
    }
    if (asked !== state.asked) return;
    await draw(answer, performance.now() - begin);
    if (answer.explained === null && !state.drawn) {
      const { results } = await send(`${path()}/predict?picture=true`);
      if (asked !== state.asked) return;
      await drawPrediction(results[0]);
    }
    await findSimilar(asked);
    if (asked === state.asked) say("");
  } catch (error) {
    if (asked === state.asked) say(error.message, true);
  }
}

// The middle of the part of the picture that the map is strongest in.
function strongest({ map, width, height }) {
  const flat = map.flat(), at = flat.indexOf(Math.max(...flat)), columns = map[0].length;
  const [sideX, sideY] = cellSide({ width, height }, map.length, columns);
  const [x, y] = [(at % columns + 0.5) * sideX, (Math.floor(at / columns) + 0.5) * sideY];
  return [Math.min(Math.floor(x), width - 1), Math.min(Math.floor(y), height - 1)];
}

// Of a network with an index, once for each image.
async function findSimilar(asked) {
  const has = state.models[byId("model").value].searched !== null;
  byId("similar").hidden = !has;
  if (!has || state.found) return;
  const { results } = await send(`${path()}/similar?k=${SIMILAR}&thumbnails=true`);
  if (asked !== state.asked) return;
  state.found = true;
  byId("pictures").replaceChildren(...results[0].pictures.map(similarPicture));
}

function similarPicture({ image, similarity, note, thumbnail }) {
  const item = document.createElement("li"), words = document.createElement("p");
  const shown = document.createElement(thumbnail ? "img" : "div");
  if (thumbnail) {
    Object.assign(shown, { src: thumbnail, alt: "" });
    shown.addEventListener("load", () => shown.classList.toggle("pixels", Math.max(shown.naturalWidth, shown.naturalHeight) < 64));
  } else shown.className = "none";
  words.append(Object.assign(document.createElement("b"), { textContent: similarity.toFixed(3) }), " ");
  for (const [i, part] of image.split("/").entries()) words.append(...(i ? ["/", document.createElement("wbr")] : []), part);
  if (note) words.append(`, ${note} since it was indexed`);
  item.append(shown, words);
  return item;
}

async function load(uri) {
  const picture = new Image();
  picture.src = uri;
  await picture.decode();
  return picture;
}

// Of a network that gives the image no class: its task's own picture, once for each image.
async function drawPrediction(result) {
  const picture = await load(result.picture);
  fit(byId("drawn"), { width: picture.naturalWidth, height: picture.naturalHeight }).drawImage(picture, 0, 0);
  state.drawn = true;
  byId("summary").textContent = result.summary;
  byId("tables").replaceChildren(...tables(result.prediction));
}

async function draw(answer, total) {
  state.answer = answer;
  const picture = await load(answer.picture);
  byId("hint").textContent = "Click a point of the image, or move it with the arrow keys.";
  drawPicture(answer, picture);
  const hasClasses = answer.explained !== null;
  byId("of-classes").hidden = !hasClasses;
  byId("of-task").hidden = hasClasses;
  for (const option of document.querySelectorAll("option[data-class]")) option.disabled = !hasClasses;
  if (hasClasses) drawClasses(answer);
  const map = answer.map, top = brightest(map.flat());
  overlay(byId("map"), answer, picture, map.map((row) => row.map((value) => value / top)));
  const method = byId("method").selectedOptions[0].text;
  byId("map-title").textContent = hasClasses ? `${method}: ${answer.explained}` : method;
  const steps = Object.entries(answer.timings_ms).map(([what, ms]) => `${what} ${ms.toFixed(0)} ms`);
  byId("timings").textContent = `${steps.join(", ")}; in all ${total.toFixed(0)} ms`;
  drawLayers(answer, picture);
}

function fit(canvas, answer) {
  const scale = Math.max(1, Math.round(448 / Math.max(answer.width, answer.height)));
  canvas.width = answer.width * scale;
  canvas.height = answer.height * scale;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.imageSmoothingEnabled = false;
  return context;
}

function drawPicture(answer, picture) {
  const context = fit(byId("picture"), answer);
  context.drawImage(picture, 0, 0);
  if (!state.point) return;
  const [x, y] = state.point.map((at) => at + 0.5), arm = Math.max(answer.width, answer.height) / 24;
  for (const [style, width] of [["#000", 3], ["#fff", 1.2]]) {
    context.strokeStyle = style;
    context.lineWidth = width * Math.max(answer.width, answer.height) / 224;
    context.beginPath();
    context.moveTo(x - arm, y); context.lineTo(x + arm, y); context.moveTo(x, y - arm); context.lineTo(x, y + arm);
    context.stroke();
  }
}

function drawClasses(answer) {
  const classes = answer.prediction.classes, flags = classes.map((found) => found.predicted);
  const several = flags.includes(true) ? "✓: the class reaches the network's threshold. " : "No class reaches the network's threshold. ";
  byId("classes-note").textContent = `${flags[0] === undefined ? "" : several}Choose a class to see what speaks for it.`;
  byId("classes").replaceChildren(...classes.map((found) => {
    const button = document.createElement("button"), item = document.createElement("li");
    const share = `${(100 * found.probability).toFixed(1)} %${found.predicted ? " ✓" : ""}`;
    button.type = "button";
    button.style.setProperty("--share", `${100 * found.probability}%`);
    button.setAttribute("aria-pressed", String(found.class === answer.explained));
    for (const text of [found.class, share]) button.append(Object.assign(document.createElement("span"), { textContent: text }));
    button.addEventListener("click", () => { state.class = found.class; ask(); });
    item.append(button);
    return item;
  }));
}

// The picture in grey, and over it a map of any resolution.
function overlay(canvas, answer, picture, shares) {
  const context = fit(canvas, answer), rows = shares.length, columns = shares[0].length;
  context.filter = "grayscale(1)";
  context.drawImage(picture, 0, 0);
  context.filter = "none";
  const small = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const pixels = new ImageData(columns, rows);
  shares.flat().forEach((share, i) => pixels.data.set([...colour(share), 170], 4 * i));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const side = cellSide(answer, rows, columns);
  context.drawImage(small, 0, 0, columns * side[0], rows * side[1]);
  return context;
}

// Tokens have a side of a power of two; the last ones of a side may stick out over the image.
function cellSide(answer, rows, columns) {
  let stride = 1;
  while (Math.ceil(answer.height / stride) > rows || Math.ceil(answer.width / stride) > columns) stride *= 2;
  return Math.ceil(answer.height / stride) === rows && Math.ceil(answer.width / stride) === columns
    ? [stride, stride] : [answer.width / columns, answer.height / rows];
}

function drawLayers(answer, picture) {
  const pairs = new Map();
  for (const layer of answer.layers) {
    const name = `Stage ${layer.stage}, block ${layer.block}: ${layer.height} × ${layer.width} tokens`;
    pairs.set(name, [...(pairs.get(name) ?? []), layer]);
  }
  byId("layers").replaceChildren(...[...pairs].map(([name, layers]) => {
    const box = Object.assign(document.createElement("div"), { className: "layer" });
    box.append(Object.assign(document.createElement("h3"), { textContent: name }));
    for (const layer of layers) box.append(layerFigure(answer, picture, layer));
    return box;
  }));
}

function layerFigure(answer, picture, layer) {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${layer.axis} attention of stage ${layer.stage}, block ${layer.block}`);
  figure.append(canvas);
  const context = fit(canvas, answer), most = Math.max(...layer.values.flat());
  const top = Math.max(most, 3 / layer.cells.length);  // shares of a group add up to 1
  context.filter = "grayscale(1) brightness(0.6)";
  context.drawImage(picture, 0, 0);
  context.filter = "none";
  for (const [left, above, right, below] of layer.cells) {
    const side = layer.cells[0][2] - layer.cells[0][0];
    const share = layer.values[Math.floor(above / side)][Math.floor(left / side)] / top;
    context.fillStyle = `rgb(${colour(share).join(" ")} / 0.85)`;
    context.fillRect(left, above, right - left, below - above);
  }
  const [left, above, right, below] = layer.own;
  context.strokeStyle = "#fff";
  context.lineWidth = Math.max(1, answer.width / 150);
  context.strokeRect(left, above, right - left, below - above);
  const words = `${layer.axis}: at most ${(100 * most).toFixed(1)} % to one of ${layer.cells.length}`;
  figure.append(Object.assign(document.createElement("figcaption"), { textContent: words }));
  return figure;
}

const POINTED = "The cross marks where the map is strongest; further down is what that point attends to.";

// To begin with: a picture that the network has not learned from, where the server has one, else a drawing.
async function begin() {
  const asked = ++state.asked;
  forget();
  try {
    if (!byId("model").value) await listModels();
    const [{ image, name, truth, part }, { class_names: names }] = await Promise.all([call(`${path()}/example`), call(path())]);
    if (asked !== state.asked) return;
    if (image) {
      const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
      show(new File([bytes], name, { type: "image/png" }), `An example: ${name}, of the ${part} images. Its label: ${truth}. ${POINTED}`);
    } else {
      const ofDigits = names.length > 0 && names.every((label) => /(^|\D)\d$/.test(label));
      drawn(ofDigits ? "three" : "shapes", `An example, drawn here. ${POINTED} Give it an image of your own.`);
    }
  } catch (error) {
    if (asked === state.asked) say(error.message, true);
  }
}

function show(file, note) {
  forget();
  Object.assign(state, { file, example: Boolean(note) });
  byId("example").hidden = !note;
  byId("example").textContent = note;
  ask();
}

function take(file) {
  if (!file || !file.type.startsWith("image/")) {
    say("That is not an image: give a JPEG, PNG, WebP, GIF or BMP.", true);
    return;
  }
  show(file, "");
}

function drawn(name, note = "") {
  const canvas = Object.assign(document.createElement("canvas"), { width: 224, height: 224 });
  samples[name](canvas.getContext("2d"));
  canvas.toBlob((blob) => show(new File([blob], `${name}.png`, { type: "image/png" }), note));
}

function pointAt(x, y) {
  const { width, height } = state.answer;
  state.point = [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
  ask();
}

byId("file").addEventListener("change", (event) => take(event.target.files[0]));
for (const button of document.querySelectorAll("[data-sample]")) button.addEventListener("click", () => drawn(button.dataset.sample));
byId("method").addEventListener("change", ask);
byId("model").addEventListener("change", () => {
  byId("method").value = "rollout";
  if (state.example) begin();
  else { forget(); ask(); }
});
byId("key").addEventListener("change", () => { if (state.file) ask(); else begin(); });
byId("picture").addEventListener("click", (event) => {
  if (!state.answer) return;
  const box = byId("picture").getBoundingClientRect();
  pointAt(Math.floor((event.clientX - box.left) / box.width * state.answer.width), Math.floor((event.clientY - box.top) / box.height * state.answer.height));
});
byId("picture").addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (!state.answer || !(event.key in moves)) return;
  event.preventDefault();
  const { width, height } = state.answer, step = Math.max(1, Math.round(Math.max(width, height) / (event.shiftKey ? 8 : 32)));
  const [x, y] = state.point ?? [width >> 1, height >> 1], [dx, dy] = moves[event.key];
  pointAt(x + dx * step, y + dy * step);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files][0];
  if (file) take(file);
});
begin();
