// The page: a picture in, tiles through the model, slider and times. `document.body.dataset.state`
// is idle, busy, done or failed.

import { bicubic } from "./bicubic.js";
import { join } from "./colour.js";
import { open } from "./runtimes.js";
import { toPixels, toTensor } from "./upscale.js";

const $ = (id) => document.getElementById(id);
const json = async (address) => (await fetch(address)).json();
const facts = await json("./about");
// LiteRT.js loads one build per page, so another accelerator is another page.
const accelerator = location.search === "?webgpu" ? "webgpu" : "wasm";
const threads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
let call, init_ms, stopped;

function say(text, state) {
  $("says").textContent = text;
  if (state) document.body.dataset.state = state;
}

// Pixels as they are in the file: no conversion of colours, turned upright, alpha left out.
async function read(file) {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: "none", premultiplyAlpha: "none",
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function blank(id, { width, height }) {
  const canvas = $(id);
  [canvas.width, canvas.height] = [width, height];
  // In memory and opaque: what is read back is what was written.
  return canvas.getContext("2d", { willReadFrequently: true, alpha: false });
}

async function upscale(file) {
  stopped = false;
  say("Reading…", "busy");
  const picture = await read(file), { width, height } = picture;
  const plan = await json(`./plan/${height}/${width}`);
  if (plan.refused) throw new Error(plan.refused);
  call ??= await opened();
  const after = blank("after", plan), before = blank("before", plan);
  [$("result").hidden, $("stop").hidden] = [false, false];
  slide();
  const times = { pre: [], infer: [], post: [] }, began = performance.now();
  const total = plan.rows.length * plan.columns.length;
  for (const row of plan.rows) {
    for (const column of plan.columns) {
      await tile(picture, plan, row, column, after, before, times);
      const done = times.post.length;
      say(`${width}x${height} x${facts.scale}: tile ${done} of ${total}`);
      show(times, performance.now() - began, total);
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
      if (stopped) return say(`Stopped after ${done} of ${total} tiles.`, "idle");
    }
  }
  say(`${width}x${height} to ${plan.width}x${plan.height}. ${plan.why_inexact}`, "done");
}

async function opened() {
  say("Loading the model…");
  const start = performance.now();
  const opening = await open({ ...facts, accelerator, threads });
  init_ms = performance.now() - start;
  return opening;
}

async function tile(picture, size, row, column, after, before, times) {
  const marks = [performance.now()], place = [row.place, column.place];
  const { values, shape } = toTensor(picture, row.read, column.read, facts);
  marks.push(performance.now());
  const output = await call(values, shape);
  marks.push(performance.now());
  const pixels = toPixels(output, row.made, column.made, row.kept, column.kept, facts);
  if (facts.luma) join(pixels, picture, size, ...place, facts.luma);
  const corner = [column.place[0], row.place[0]];
  after.putImageData(pixels, ...corner);
  marks.push(performance.now());
  Object.values(times).forEach((list, i) => list.push(marks[i + 1] - marks[i]));
  before.putImageData(bicubic(picture, size, ...place), ...corner);
}

function quantile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b), at = share * (sorted.length - 1);
  const low = Math.floor(at), high = Math.ceil(at);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

function show(times, total_ms, tiles) {
  const row = (name, list) => [
    name, quantile(list, 0.5).toFixed(1), quantile(list, 0.9).toFixed(1),
  ];
  const rows = [
    [`ms a tile, ${times.post.length} of ${tiles}`, "median", "p90"],
    ...Object.entries(times).map(([name, list]) => row(name, list)),
    ["init, once", init_ms.toFixed(1), ""],
    ["whole picture, s", (total_ms / 1000).toFixed(2), ""],
    ["ran on", `${accelerator}, ${accelerator === "wasm" ? `${threads} threads` : "GPU"}`, ""],
  ];
  $("overlay").tBodies[0].replaceChildren(...rows.map((cells) => {
    const line = document.createElement("tr");
    for (const cell of cells) line.insertCell().textContent = cell;
    return line;
  }));
}

async function sha256() {
  if (!crypto.subtle) return say("Browsers hash on https and localhost only.");
  const { width, height } = $("after");
  const { data } = $("after").getContext("2d").getImageData(0, 0, width, height);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  $("hash").dataset.of = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  say(`SHA-256 of the result's RGBA bytes: ${$("hash").dataset.of}`);
}

function save() {
  $("after").toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `edgesr-x${facts.scale}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// The slider goes over what is seen, also where that is a part of the picture.
function slide() {
  const { scrollLeft, clientWidth } = $("view");
  const edge = `${scrollLeft + (clientWidth * $("position").value) / 100}px`;
  $("before").style.clipPath = `inset(0 calc(100% - ${edge}) 0 0)`;
  $("edge").style.left = edge;
}

function drag(event) {
  if (!event.buttons) return;
  const { left, width } = $("view").getBoundingClientRect();
  $("position").value = (100 * (event.clientX - left)) / width;
  slide();
}

$("model").textContent = `${facts.network} ${facts.precision} x${facts.scale}: ${facts.name}, ` +
  `${facts.runtime} ${facts.version}`;
$("accelerator").value = accelerator;
$("accelerator").onchange = () => location.replace(`?${$("accelerator").value}`);
$("position").oninput = $("view").onscroll = onresize = slide;
$("view").onpointermove = drag;
$("size").onclick = () => {
  $("size").setAttribute("aria-pressed", !$("stage").classList.toggle("fit"));
  slide();
};
$("stop").onclick = () => { stopped = true; };
$("save").onclick = save;
$("hash").onclick = sha256;
$("file").onchange = async () => {
  const [file] = $("file").files;
  if (!file) return;
  $("file").disabled = true;
  try {
    delete $("hash").dataset.of;
    await upscale(file);
  } catch (error) {
    say(`That did not work: ${error?.message ?? error}`, "failed");
  } finally {
    [$("file").disabled, $("stop").hidden] = [false, true];
  }
};
document.body.dataset.state = "idle";
