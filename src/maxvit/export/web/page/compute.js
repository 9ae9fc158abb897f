// The worker: it opens the network once, and then answers pictures, one after the other.

let about, runtime, session;

async function open({ module, wasm, model, description }) {
  about = description;
  runtime = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
  runtime.env.wasm.wasmBinary = wasm;
  runtime.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
  runtime.env.logLevel = "error";
  session = await runtime.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"], logSeverityLevel: 3 });
  return { threads: runtime.env.wasm.numThreads };
}

async function answer({ file }) {
  const begin = performance.now();
  const picture = await decode(file, about.preprocessing.max_pixels);
  const { values, shape } = prepare(about.preprocessing, picture);
  const prepared = performance.now();
  const found = await session.run({ images: new runtime.Tensor("float32", values, shape) });
  const outputs = Object.entries(found).map(([name, { dims, data }]) => [name, { dims: [...dims], data }]);
  const times = { prepare: prepared - begin, compute: performance.now() - prepared };
  return { outputs: Object.fromEntries(outputs), taken: shape.slice(2), picture, times };
}

self.onmessage = async ({ data }) => {
  try {
    const said = await (data.file ? answer(data) : open(data));
    self.postMessage({ number: data.number, said }, said.picture ? [said.picture] : []);
  } catch (error) {
    self.postMessage({ number: data.number, error: String(error?.message ?? error) });
  }
};
