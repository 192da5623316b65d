// One way to run a model in the browser, whichever library does it: `open(job)` gives a function
// from (values, shape) to the output's values.

export const TYPES = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array };

export async function adapter() {
  const found = await navigator.gpu?.requestAdapter();
  if (!found) return null;
  const { vendor, architecture, description, isFallbackAdapter } = found.info ?? {};
  return { vendor, architecture, description, fallback: !!isFallbackAdapter };
}

// job: runtime, accelerator, threads, model (its address), dtype.
export const open = (job) => (job.runtime === "litert" ? openLitert(job) : openOnnx(job));

async function openLitert(job) {
  const litert = await import("@litertjs/core");
  await litert.loadLiteRt("./lib/@litertjs/core/wasm/", {
    threads: job.threads > 1 && crossOriginIsolated,
    jspi: job.accelerator === "webgpu", // its other build lacks what integer ends need
  });
  const model = await litert.loadAndCompile(job.model, { accelerator: job.accelerator });
  return async (values, shape) => {
    const tensor = new litert.Tensor(values, shape);
    const [result] = await model.run(tensor);
    const onHost = result.accelerator === "wasm" ? result : await result.moveTo("wasm");
    const output = onHost.toTypedArray().slice();
    for (const used of new Set([tensor, result, onHost])) if (!used.deleted) used.delete?.();
    return output;
  };
}

async function openOnnx(job) {
  const build = job.accelerator === "webgpu" ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs";
  const ort = await import(new URL(`./lib/onnxruntime-web/dist/${build}`, location.href));
  ort.env.wasm.wasmPaths = new URL("./lib/onnxruntime-web/dist/", location.href).href;
  ort.env.wasm.numThreads = crossOriginIsolated ? job.threads : 1;
  const session = await ort.InferenceSession.create(job.model, {
    executionProviders: [job.accelerator],
  });
  return async (values, shape) => {
    const feeds = { [session.inputNames[0]]: new ort.Tensor(job.dtype, values, shape) };
    return (await session.run(feeds))[session.outputNames[0]].getData();
  };
}
