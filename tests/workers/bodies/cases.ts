// A body for every path: all that a handler may answer with, and what can go wrong with it.

const encoder = new TextEncoder();
const bytes = (text: string) => encoder.encode(text);
const TEXT = "hello ".repeat(20_000);

const from = (...chunks: any[]) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

async function* each(...chunks: any[]) {
  for (const chunk of chunks) yield chunk;
}

// One chunk, and then what `then` does.
function first(chunk: any, then: () => unknown) {
  let calls = 0;
  return new ReadableStream({
    async pull(controller) {
      if (calls++ === 0) return controller.enqueue(chunk);
      const next = await then();
      if (next === undefined) controller.close();
      else controller.enqueue(next);
    },
  });
}

function boom(): never {
  throw new Error("boom");
}

async function packed(text: string, format: CompressionFormat = "gzip") {
  const stream = new Response(text).body!.pipeThrough(new CompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// `/silent` and `/gzip-pauses` wait for `/speak`.
let speak = () => {};
const spoken = () => new Promise<void>((resolve) => void (speak = resolve, setTimeout(resolve, 60_000)));

const coded = (coding: string, init: ResponseInit = {}) => ({ ...init, headers: { "content-encoding": coding, ...init.headers } });
const byHand = () => coded("gzip", { encodeBody: "manual" });

type Case = (request: Request, context: ExecutionContext) => Response | Promise<Response>;

const cases: Record<string, Case> = {
  "texts": () => new Response(from("a", "é")),
  "buffer": () => new Response(from(bytes("ab").buffer)),
  "view": () => new Response(from(new DataView(bytes("abc").buffer, 1, 1))),
  "wide": () => new Response(from(new Uint16Array([0x6161]))),
  "empty-chunks": () => new Response(from("", new Uint8Array(0), "z", "")),
  "generator-of-texts": () => new Response(each("x", "y") as any),
  "generator-of-bytes": () => new Response(each(bytes("xy")) as any),
  "iterable": () => new Response(ReadableStream.from(["a", "b"])),
  "transform": () => {
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    writer.write("text");
    writer.close();
    return new Response(readable);
  },
  "nothing": () => new Response(from()),
  "number": () => new Response(from(5)),
  "null": () => new Response(from(null)),
  "object": () => new Response(from({})),

  "start-throws": () => new Response(new ReadableStream({ start: boom })),
  "pull-throws": () => new Response(new ReadableStream({ pull: boom })),
  "pull-throws-later": () => new Response(new ReadableStream({ pull: () => scheduler.wait(20).then(boom) })),
  "errored": () => new Response(new ReadableStream({ start: (controller) => controller.error(new Error("boom")) })),
  "generator-throws": () => new Response((async function* () { boom(); })() as any),
  "bytes-throw": () => new Response(new ReadableStream({ type: "bytes", pull: boom })),
  "transform-throws": () => new Response(from("x").pipeThrough(new TransformStream({ transform: boom }))),
  "fails-midway": () => new Response(first(bytes("some"), boom)),
  "number-midway": () => new Response(first("some", () => 5)),
  "fails-slowly": () => new Response(first("some", () => scheduler.wait(30).then(boom))),
  "silent": () => new Response(new ReadableStream({ pull: async (controller) => (await spoken(), controller.enqueue("at last"), controller.close()) })),
  "speak": () => (speak(), new Response("spoken")),
  "cancelled": () =>
    new Response(new ReadableStream({
      pull: () => (console.log("pulled"), scheduler.wait(60_000)),
      cancel: () => console.log("cancelled"),
    })),
  "locked": () => {
    const response = new Response("x");
    response.body!.getReader();
    return response;
  },
  "locked-stream": () => {
    const response = new Response(from("x"));
    response.body!.getReader();
    return response;
  },
  "read": async () => {
    const response = new Response(from(bytes("x"), bytes("y")));
    const reader = response.body!.getReader();
    await reader.read();
    reader.releaseLock();
    return response;
  },

  "blob": () => new Response(new Blob(["foo"])),
  "blob-stream": () => new Response(new Blob(["foo"]).stream()),
  "form": () => new Response(new URLSearchParams({ a: "b" })),
  "tee": () => new Response(new Response("foo").body!.tee()[0]),
  "clone": () => {
    const response = new Response(new Blob(["foo"]));
    return response.clone();
  },
  "body-of-another": () => new Response(new Response("foo").body, { headers: { "x-a": "b" } }),
  "wrong-length": () => new Response("hello", { headers: { "content-length": "3" } }),
  "looked-at": () => {
    const response = new Response("foo");
    return response.body === null ? boom() : response;
  },
  "echo": (request) => new Response(request.body),
  "echo-tee": (request) => {
    const [one, other] = request.body!.tee();
    other.cancel();
    return new Response(one);
  },
  "echo-request": (request) => new Response(new Request(request).body),
  "echo-clone": (request, context) => {
    const clone = request.clone();
    context.waitUntil(request.arrayBuffer());
    return new Response(clone.body);
  },
  "byob": async (request) => {
    const reader = request.body!.getReader({ mode: "byob" });
    let [length, sum] = [0, 0];
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(1000));
      if (done) return Response.json([length, sum]);
      length += value.length;
      for (const byte of value) sum += byte;
    }
  },

  "gzip": () => new Response(TEXT, coded("gzip")),
  "gzip-stream": () => new Response(from(TEXT.slice(0, 10), bytes(TEXT.slice(10))), coded("gzip")),
  "gzip-blob": () => new Response(new Blob([TEXT]), coded("gzip")),
  "gzip-wrong-length": () => new Response(TEXT, coded("gzip", { headers: { "content-length": "7" } })),
  "gzip-upper": () => new Response(TEXT, { headers: { "Content-Encoding": "gzip" } }),
  "gzip-empty": () => new Response("", coded("gzip")),
  "gzip-null": () => new Response(null, coded("gzip")),
  "gzip-304": () => new Response(null, coded("gzip", { status: 304 })),
  "gzip-pauses": () => new Response(first("before", async () => void await spoken()), coded("gzip")),
  "br": () => new Response(TEXT, coded("br")),
  "br-stream": () => new Response(from(TEXT), coded("br")),
  "deflate": () => new Response(TEXT, coded("deflate")),
  "two-codings": () => new Response(TEXT, coded("gzip, br")),
  "manual": async () => new Response(await packed(TEXT), byHand()),
  "manual-stream": async () => new Response(from(await packed(TEXT)), byHand()),
  "manual-copy": async () => {
    const response = new Response(await packed(TEXT), byHand());
    return new Response(response.body, response);
  },
  "manual-clone": async () => new Response(await packed(TEXT), byHand()).clone(),
  "unpack/gzip": (request) => unpack(request, "gzip"),
  "unpack/br": (request) => unpack(request, "brotli" as CompressionFormat),
};

async function unpack(request: Request, format: CompressionFormat) {
  return new Response(await new Response(request.body!.pipeThrough(new DecompressionStream(format))).text());
}

export default {
  fetch(request: Request, _env: unknown, context: ExecutionContext) {
    return cases[new URL(request.url).pathname.slice(1)](request, context);
  },
};
