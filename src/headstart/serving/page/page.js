"use strict";
// Photos in, answers out, by /v1/predict. Nothing of a file's name or of an answer is ever read as HTML.

const AT_ONCE = 4; // requests on their way; the server answers side by side, and more would only wait there
const PREVIEW_PX = 640; // of a large photo a small copy is shown, so that hundreds fit into memory
const SLIGHT = 0.001; // among many photos, classes below it are left out
const PATIENCE = 20; // times that a busy server is asked again

const byId = (id) => document.getElementById(id);
const percent = (share) => (share > 0.999 ? "over 99.9%" : share < 0.001 ? "under 0.1%" : `${(100 * share).toFixed(1)}%`);
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

let model = null; // what /v1/model says of the chosen one
let items = []; // one for each photo, in the order in which they came
let waiting = []; // of them, those that were not sent yet
let busy = 0;

class Failure extends Error {
  constructor(problem, fix) {
    super(problem);
    this.fix = fix;
  }
}

async function request(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    const token = sessionStorage.getItem("token");
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch {
      throw new Failure("The server does not answer.", "See whether it runs, and try again.");
    }
    if (response.status === 401) {
      await askForToken();
      continue;
    }
    if (response.status === 429 && attempt < PATIENCE) {
      await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("Retry-After") || 1)));
      continue;
    }
    const told = await response.json().catch(() => ({}));
    if (!response.ok) throw new Failure(told.problem || `The server says ${response.status}.`, told.fix || "");
    return told;
  }
}

let asking = null;
function askForToken() {
  asking ??= new Promise((done) => {
    const dialog = byId("ask");
    byId("token").value = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", byId("token").value);
      asking = null;
      done();
    }, { once: true });
  });
  return asking;
}

async function describe(name) {
  try {
    model = await request(name ? `v1/model?model=${encodeURIComponent(name)}` : "v1/model");
  } catch (failure) {
    byId("about").textContent = `${failure.message} ${failure.fix}`;
    return;
  }
  const names = model.class_names, shown = names.slice(0, 12).join(", ");
  const more = names.length > 12 ? ` and ${names.length - 12} more` : "";
  byId("about").textContent = `${model.model} tells ${plural(names.length, "class").replace("classs", "classes")} apart: ${shown}${more}.`;
  const choice = byId("model");
  if (choice.options.length === 0) {
    for (const one of model.models) choice.add(new Option(one));
    choice.closest("label").hidden = model.models.length < 2;
  }
  choice.value = model.model;
}

function add(files) {
  for (const file of files) {
    const item = { number: items.length, file, name: file.name || "photo", answer: null, failure: null };
    item.card = makeCard(item);
    items.push(item);
    waiting.push(item);
    byId("answers").append(item.card);
  }
  if (files.length === 0) return;
  byId("results").hidden = false;
  tell();
  pump();
}

function pump() {
  while (busy < AT_ONCE && waiting.length > 0) {
    busy++;
    ask(waiting.shift()).finally(() => {
      busy--;
      pump();
    });
  }
}

function form(file) {
  const data = new FormData();
  data.append("file", file, "photo"); // its name is nobody's business
  return data;
}

const query = (more) => `v1/predict?model=${encodeURIComponent(model?.model ?? "")}${more}`;

async function ask(item) {
  try {
    const told = await request(query("&top=5"), { method: "POST", body: form(item.file) });
    item.answer = told.predictions[0];
  } catch (failure) {
    item.failure = failure;
  }
  fill(item);
  tell();
}

function makeCard(item) {
  const card = byId("answer").content.cloneNode(true).firstElementChild;
  card.classList.add("is-waiting");
  card.querySelector(".said").textContent = "…";
  card.querySelector(".file").textContent = item.name;
  card.querySelector(".why").addEventListener("click", () => explain(item));
  item.previewing = preview(item, card);
  return card;
}

async function preview(item, card) {
  const image = card.querySelector("img");
  try {
    const bitmap = await createImageBitmap(item.file);
    item.shape = [bitmap.width, bitmap.height];
    item.preview = URL.createObjectURL(await drawn(bitmap, item.shape));
    image.src = item.preview;
    image.alt = item.name;
    image.hidden = false;
  } catch {
    card.querySelector(".no-picture").textContent = "No preview";
  }
}

function fill(item) {
  const { card, answer, failure } = item;
  const said = card.querySelector(".said"), how = card.querySelector(".how"), ranks = card.querySelector(".ranks");
  card.classList.remove("is-waiting");
  if (failure) {
    card.classList.add("is-failed");
    said.textContent = failure.message;
    how.textContent = failure.fix;
    return;
  }
  const kind = answer.is_novel ? "is-none" : answer.is_sure === false ? "is-unsure" : "is-sure";
  card.classList.add(kind);
  said.textContent = { "is-none": "None of these", "is-unsure": "Not sure", "is-sure": answer.label }[kind];
  how.textContent = {
    "is-none": `Unlike all photos that the model learned from. It would have said ${answer.label}.`,
    "is-unsure": `Perhaps ${answer.likely.join(" or ")}.`,
    "is-sure": `${percent(answer.confidence)} confident`,
  }[kind];
  if (kind !== "is-none") {
    for (const one of answer.top) {
      const row = document.createElement("li"), name = document.createElement("span"), share = document.createElement("span");
      name.textContent = one.label;
      share.textContent = percent(one.probability);
      row.append(name, share);
      row.classList.toggle("is-likely", answer.likely.includes(one.label));
      row.classList.toggle("is-slight", one.probability < SLIGHT);
      row.style.setProperty("--share", `${100 * one.probability}%`);
      ranks.append(row);
    }
  }
  item.how = how.textContent;
  card.querySelector(".why").hidden = false;
}

async function heatOf(item, told) {
  const bytes = Uint8Array.from(atob(told.png), (one) => one.charCodeAt(0));
  const map = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const shape = model.fit === "squash" && item.shape ? item.shape : [map.width, map.height]; // bent back
  return { label: told.label, url: URL.createObjectURL(await drawn(map, shape)) };
}

async function drawn(bitmap, [width, height]) {
  const scale = Math.min(1, PREVIEW_PX / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/webp", quality: 0.9 });
}

async function explain(item) {
  const button = item.card.querySelector(".why"), image = item.card.querySelector("img");
  if (!item.heat) {
    button.disabled = true;
    button.textContent = "Looking …";
    try {
      const told = await request(query("&top=1&heat_map=true"), { method: "POST", body: form(item.file) });
      await item.previewing; // whose shape it has, and whose place it takes
      item.heat = await heatOf(item, told.predictions[0].heat_map);
    } catch (failure) {
      button.textContent = failure.message;
      return;
    }
    button.disabled = false;
    button.focus();
  }
  const isShown = button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", String(!isShown));
  button.textContent = isShown ? "Why?" : "Show the photo";
  image.src = isShown ? item.preview : item.heat.url;
  image.alt = isShown ? item.name : `${item.name}, brighter where more speaks for ${item.heat.label}`;
  image.hidden = isShown && !item.preview;
  item.card.querySelector(".how").textContent = isShown ? item.how : `Brighter: speaks for ${item.heat.label}`;
}

function tell() {
  const done = items.filter((item) => item.answer || item.failure), failed = items.filter((item) => item.failure);
  const parts = [done.length < items.length ? `${done.length} of ${plural(items.length, "photo")} answered` : `${plural(items.length, "photo")} answered`];
  const unsure = done.filter((item) => item.answer && !item.answer.is_novel && item.answer.is_sure === false).length;
  const novel = done.filter((item) => item.answer?.is_novel).length;
  if (unsure) parts.push(`${unsure} not sure`);
  if (novel) parts.push(`${novel} none of these`);
  if (failed.length) parts.push(`${failed.length} not read`);
  byId("status").textContent = parts.join(", ") + ".";
  byId("answers").classList.toggle("is-one", items.length === 1);
  byId("save").disabled = done.length === 0;
  for (const id of ["order", "save"]) (id === "order" ? byId(id).parentElement : byId(id)).hidden = items.length < 2;
  if (done.length === items.length) arrange();
}

const confidence = (item) => (item.failure || item.answer.is_novel ? -1 : item.answer.confidence);
const ORDERS = {
  number: (one, other) => one.number - other.number,
  least: (one, other) => confidence(one) - confidence(other),
  most: (one, other) => confidence(other) - confidence(one),
  answer: (one, other) => (one.answer?.answer ?? "\uffff").localeCompare(other.answer?.answer ?? "\uffff"),
  name: (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }),
};

function arrange() {
  const order = ORDERS[byId("order").value];
  byId("answers").append(...[...items].sort((one, other) => order(one, other) || one.number - other.number).map((item) => item.card));
}

function table() {
  const names = ["path", "label", "confidence", "is_sure", "is_novel", "novelty", "error"];
  const rows = items.filter((item) => item.answer || item.failure).map(({ name, answer, failure }) =>
    failure
      ? [name, "", "", "", "", "", `${failure.message} ${failure.fix}`]
      : [name, answer.label, answer.confidence.toFixed(6), answer.is_sure, answer.is_novel, answer.novelty?.toFixed(6), ""]);
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function clear() {
  for (const item of items) for (const url of [item.preview, item.heat?.url]) if (url) URL.revokeObjectURL(url);
  items = [];
  waiting = [];
  byId("answers").replaceChildren();
  byId("results").hidden = true;
  byId("files").focus();
}

async function openCamera() {
  if (!navigator.mediaDevices || matchMedia("(hover: none)").matches) return byId("shot").click(); // the phone's own
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch {
    return byId("shot").click();
  }
  const dialog = byId("viewfinder"), video = byId("video"), shutter = byId("shoot");
  shutter.disabled = true; // until there is a picture to take
  video.addEventListener("loadeddata", () => {
    shutter.disabled = false;
    shutter.focus();
  }, { once: true });
  video.srcObject = stream;
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()), { once: true });
  dialog.showModal();
}

async function shoot() {
  const video = byId("video"), canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  byId("viewfinder").close();
  add([new File([blob], `camera-${new Date().toISOString().replaceAll(":", "-").slice(0, 19)}.jpg`)]);
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? (await Promise.all(entries.map(filesIn))).flat() : [...transfer.files];
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader(), inside = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) break;
    inside.push(...some);
  }
  return (await Promise.all(inside.map(filesIn))).flat();
}

function listen() {
  for (const id of ["files", "shot"]) {
    byId(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  byId("camera").addEventListener("click", openCamera);
  byId("shoot").addEventListener("click", shoot);
  byId("stop").addEventListener("click", () => byId("viewfinder").close());
  byId("order").addEventListener("change", arrange);
  byId("save").addEventListener("click", save);
  byId("clear").addEventListener("click", clear);
  byId("model").addEventListener("change", async (event) => {
    await describe(event.target.value);
    const files = items.map((item) => item.file);
    clear();
    add(files);
  });
  const drop = byId("drop");
  drop.addEventListener("submit", (event) => event.preventDefault());
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault(); // or the browser would open the photo in the page's place
      drop.classList.toggle("is-over", kind === "dragover");
    });
  }
  document.addEventListener("drop", async (event) => add(await dropped(event.dataTransfer)));
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
}

listen();
describe("");
