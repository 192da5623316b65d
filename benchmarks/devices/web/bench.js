// Runs the jobs of the server that sent this page, one after the other, and posts what came out.
// Reading the output is what waits for a GPU, so it is inside the time.

import { TYPES, adapter, open } from "./runtimes.js";

async function runJob(job) {
  const input = new TYPES[job.dtype](await (await fetch(job.input)).arrayBuffer());
  const timed = async (what) => {
    const start = performance.now();
    const value = await what();
    return [performance.now() - start, value];
  };
  const [init_ms, call] = await timed(() => open(job));
  const [first_ms, output] = await timed(() => call(input, job.shape));
  for (let i = 0; i < job.warm_up; i++) await call(input, job.shape);
  const samples = [];
  for (let i = 0; i < job.runs; i++) samples.push((await timed(() => call(input, job.shape)))[0]);
  await post(job.output, new Uint8Array(output.buffer, output.byteOffset, output.byteLength));
  return { init_ms, first_ms, samples };
}

async function post(url, body) {
  const answer = await fetch(url, { method: "POST", body });
  if (!answer.ok) throw new Error(`the server refused ${url}: ${answer.status}`);
}

function show(job, text) {
  const row = document.getElementById("rows").insertRow();
  for (const cell of [job.name, job.accelerator, text]) row.insertCell().textContent = cell;
}

async function about() {
  return {
    user_agent: navigator.userAgent, isolated: crossOriginIsolated,
    cores: navigator.hardwareConcurrency, adapter: await adapter().catch(() => null),
  };
}

// One job per page load: LiteRT.js loads one build per page, and memory starts fresh. After the last
// one the server is gone, so the page must not ask for anything more.
async function next([job, ...later]) {
  if (!job) return say("Done.");
  say(`Running ${job.name} with ${job.accelerator}…`);
  let result;
  try {
    result = await runJob(job);
  } catch (error) {
    result = { error: String(error?.message ?? error) };
  }
  const sorted = [...(result.samples ?? [])].sort((a, b) => a - b);
  show(job, result.error ?? sorted[sorted.length >> 1]?.toFixed(2));
  await post(job.result, JSON.stringify({ ...result, ...(await about()) }));
  if (!later.length) say("Done; the results are where edgesr was started.");
  else if (location.search === "?auto") location.reload();
  else location.replace("?auto");
}

const say = (text) => { document.getElementById("says").textContent = text; };
const jobs = await (await fetch("./jobs")).json();
for (const job of jobs) if (job.answer !== null) show(job, job.answer);
const start = document.getElementById("start");
const go = () => { start.hidden = true; return next(jobs.filter((job) => job.answer === null)); };
if (new URLSearchParams(location.search).has("auto")) await go();
else start.addEventListener("click", go, { once: true });
