// The body of a request that is still arriving, as a stream. deno_web's own over a resource has V8 make a buffer of zeros for every
// chunk, which the chunk is then copied into; here a chunk becomes a buffer as it is.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayPrototypeFind,
  Error,
  ObjectGetOwnPropertySymbols,
  SafeFinalizationRegistry,
  SymbolPrototypeToString,
  TypeError,
} = primordials;
// Late bound: ops taken while the snapshot is baked stay on V8's slow path for ever.
const ops = core.ops;

const { ReadableStream, readableByteStreamControllerEnqueue, readableByteStreamControllerError } = core.loadExtScript(
  "ext:deno_web/06_streams.js",
);
const { closeByteStream } = core.loadExtScript("ext:aerostack/platform/body_streams.ts");

// Under this key deno_web notes the resource behind a stream: who wants all of it, or only passes it on, goes there.
const resourceBacking = ArrayPrototypeFind(
  ObjectGetOwnPropertySymbols(new ReadableStream()),
  (symbol: symbol) => SymbolPrototypeToString(symbol) === "Symbol([[resourceBacking]])",
);
if (resourceBacking === undefined) {
  throw new Error("deno_web notes the resource behind a stream in another way");
}

// Bodies that nobody read to their end.
const forgotten = new SafeFinalizationRegistry((resource: number) => core.tryClose(resource));

function createBodyStream(resource: number) {
  let controller: unknown;

  const stream = new ReadableStream({
    __proto__: null,
    type: "bytes",
    start: (given: unknown) => {
      controller = given;
    },
    pull: async () => {
      let chunk;
      try {
        chunk = await ops.op_invocation_body_chunk(resource);
      } catch (error) {
        core.tryClose(resource);
        readableByteStreamControllerError(controller, error);
        return;
      }
      if (chunk === null) {
        core.tryClose(resource);
        closeByteStream(controller);
      } else {
        readableByteStreamControllerEnqueue(controller, chunk);
      }
    },
    cancel: () => {
      core.tryClose(resource);
    },
  }, { __proto__: null, highWaterMark: 0 });
  stream[resourceBacking] = { rid: resource, autoClose: true };
  forgotten.register(stream, resource);
  return stream;
}

// The body of a request that was answered before anybody read it: who tries to is told why it cannot be read.
function createEndedBody(reason: string) {
  return new ReadableStream({
    __proto__: null,
    type: "bytes",
    start: (controller: unknown) => readableByteStreamControllerError(controller, new TypeError(reason)),
  });
}

return { createBodyStream, createEndedBody };
})();
