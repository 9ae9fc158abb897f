// The page: files are loaded, a worker computes, and its answers are shown. No library, nothing from elsewhere.

const LONGEST = 640, SHORTEST = 320; // pixels of the longer side of the picture that is shown
const byId = (id) => document.getElementById(id);
const waiting = new Map(); // by number: what is to be called with the worker's answer
let worker, asked = 0, received = null, stream = null;

function say(sentence, bad = false) {
  byId("status").textContent = sentence;
  byId("status").classList.toggle("bad", bad);
}

// What a file of this folder hands over. A script is read also where the page was opened without a server.
function read(name) {
  return new Promise((resolve, reject) => {
    const script = element("script", { src: name });
    script.onload = () => { script.remove(); resolve(received); received = null; };
    script.onerror = () => reject(new Error(`${name} cannot be read: copy the whole folder, and reload the page.`));
    document.head.append(script);
  });
}
self.part = (value) => { received = value; };

function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), made = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) made[i] = letters.charCodeAt(i);
  return made;
}

function send(message, moved = []) {
  const number = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(number, { resolve, reject });
    worker.postMessage({ ...message, number }, moved);
  });
}

function start() {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
    throw new Error("This browser lacks WebAssembly or OffscreenCanvas, which run the network: use a newer one.");
  }
  worker = new Worker(URL.createObjectURL(new Blob([workerCode], { type: "text/javascript" })));
  worker.onerror = ({ message }) => fail(new Error(`The network cannot be run: ${message ?? "its worker did not start"}`));
  worker.onmessage = ({ data: { number, said, error } }) => {
    const { resolve, reject } = waiting.get(number);
    waiting.delete(number);
    if (error === undefined) resolve(said);
    else reject(new Error(error));
  };
}

function fail(error) {
  say(error.message, true);
  for (const { reject } of waiting.values()) reject(error);
  waiting.clear();
}

// The network, ready to answer; a promise, as a picture may come before it is.
async function load() {
  const begin = performance.now();
  start();
  const model = new Uint8Array(about.bytes);
  let at = 0;
  for (const name of about.parts) {
    say(`Loading the network: ${Math.round((100 * at) / about.bytes)}% of ${(about.bytes / 1e6).toFixed(1)} MB …`);
    const some = bytes(await read(name));
    model.set(some, at);
    at += some.length;
  }
  say("Starting the network …");
  const { module, wasm } = await read("runtime.js"), binary = bytes(wasm).buffer;
  const description = { preprocessing: about.preprocessing };
  const { threads } = await send({ module, wasm: binary, model: model.buffer, description }, [binary, model.buffer]);
  say("Ready.");
  document.documentElement.dataset.ready = Math.round(performance.now() - begin);
  return threads;
}

// The picture on its canvas, as large as it is shown.
function show(picture) {
  const canvas = byId("picture"), longer = Math.max(picture.width, picture.height);
  const scale = longer < SHORTEST ? Math.ceil(SHORTEST / longer) : Math.min(1, LONGEST / longer);
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.hidden = false;
  byId("hint").hidden = true;
  byId("drop").classList.add("full");
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return { canvas, drawing };
}

let turn = 0;
async function ask(file) {
  const mine = ++turn;
  closeCamera();
  try {
    const threads = await ready;
    say("Looking …");
    const { outputs, taken, picture, times } = await send({ file });
    if (mine !== turn) return;
    const found = view(outputs, { ...show(picture), taken });
    picture.close();
    byId("answer").replaceChildren(...elements(found));
    byId("picture").setAttribute("aria-label", `The picture: ${found.said}`);
    byId("times").textContent = `Prepared in ${times.prepare.toFixed(0)} ms, computed in ${times.compute.toFixed(0)} ms with ${threads} thread${threads > 1 ? "s" : ""}.`;
    Object.assign(byId("answer").dataset, { number: mine, ...times });
    say("");
  } catch (error) {
    if (mine === turn) say(error.message, true);
  }
}

function choose(files, place) {
  const [file, ...more] = [...files].filter(({ type }) => !type || type.startsWith("image/"));
  if (!file) say(files.length ? `${files[0].name} is not a picture.` : `There is no picture in what was ${place}: save it as a file first.`, true);
  else ask(file).then(() => { if (more.length) say(`One picture at a time: this is the first of ${more.length + 1}.`); });
}

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    say(`There is no picture from a camera (${error.message}): allow it, or choose a file.`, true);
    return;
  }
  const video = byId("video");
  video.srcObject = stream;
  await video.play();
  for (const [id, hidden] of [["video", false], ["shoot", false], ["picture", true], ["hint", true]]) byId(id).hidden = hidden;
  byId("camera").textContent = "Close the camera";
  byId("shoot").focus();
  say("");
}

function closeCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  byId("video").hidden = byId("shoot").hidden = true;
  byId("picture").hidden = !byId("drop").classList.contains("full");
  byId("hint").hidden = !byId("picture").hidden;
  byId("camera").textContent = "Use the camera";
}

async function shoot() {
  const video = byId("video"), canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  ask(await canvas.convertToBlob());
}

function listen() {
  byId("file").addEventListener("change", ({ target }) => { choose(target.files, "chosen"); target.value = ""; });
  document.addEventListener("paste", ({ clipboardData }) => choose(clipboardData.files, "pasted"));
  document.addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    byId("drop").classList.remove("over");
    choose(event.dataTransfer.files, "dropped");
  });
  byId("camera").hidden = !navigator.mediaDevices; // which only secure pages have
  byId("camera").addEventListener("click", () => (stream ? closeCamera() : openCamera()));
  byId("shoot").addEventListener("click", shoot);
}

function describe() {
  const names = about.class_names ?? [];
  byId("known").hidden = !names.length;
  byId("known").querySelector("summary").textContent = `What it knows: ${names.length} name${names.length > 1 ? "s" : ""}`;
  byId("known").querySelector("p").textContent = names.join(", ");
  byId("made").textContent = `Written by maxvit ${about.version}; runs in ONNX Runtime Web ${about.runtime}. Needs no connection.`;
}

describe();
listen();
const ready = load();
ready.catch(fail);
