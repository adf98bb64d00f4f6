// Every place that a body comes from, with every place that it goes to: whole, cancelled in the middle, and failing.

import { assertEquals, assertRejects, test } from "../testing.ts";

type Env = Record<string, any>;

const encoder = new TextEncoder();
const LENGTH = 200_000;
const BYTES = new Uint8Array(LENGTH).map((_, place) => (place * 31 + place / 251) % 251);

// Chunks of many sizes, of the same bytes.
function* chunks() {
  for (let at = 0, size = 1; at < LENGTH; at += size, size = (size * 7) % 40_009) yield BYTES.slice(at, at + size);
}

const streamed = (type?: "bytes") => {
  const parts = chunks();
  return new ReadableStream({
    ...(type === undefined ? {} : { type }),
    pull(controller: any) {
      const { done, value } = parts.next();
      if (!done) return controller.enqueue(value);
      controller.close();
      controller.byobRequest?.respond(0);
    },
  } as any);
};

function written(stream: { readable: ReadableStream; writable: WritableStream }) {
  const writer = stream.writable.getWriter();
  (async () => {
    for (const chunk of chunks()) await writer.write(chunk);
    await writer.close();
  })().catch(() => {});
  return stream.readable;
}

async function* generated() {
  yield* chunks();
}

async function stored(env: Env, bytes: Uint8Array) {
  await env.STORAGE.put("source", bytes);
  return (await env.STORAGE.get("source")).body;
}

// The length of each is known where it is listed so.
const KNOWN: Record<string, (env: Env) => any> = {
  "bytes": () => new Response(BYTES).body,
  "blob": () => new Response(new Blob([BYTES])).body,
  "stream of a blob": () => new Blob(["skipped", BYTES]).slice(7).stream(),
  "stream of a file": () => new File([BYTES], "name").stream(),
  "request": () => new Request("http://x/", { method: "POST", body: BYTES }).body,
  "request of a request": () => new Request(new Request("http://x/", { method: "POST", body: BYTES })).body,
  "clone": () => new Response(BYTES).clone().body,
  "one of two": () => new Response(BYTES).body!.tee()[0],
  "the other of two": () => new Blob([BYTES]).stream().tee()[1],
  "half of a half": () => new Response(BYTES).body!.tee()[0].tee()[1],
  "fixed length": () => written(new FixedLengthStream(LENGTH)),
  "half of a fixed length": () => written(new FixedLengthStream(LENGTH)).tee()[1],
  "fetched": async (env) => (await fetch(`${env.ORIGIN}/body`)).body,
  "half of what was fetched": async (env) => (await fetch(`${env.ORIGIN}/body`)).body!.tee()[0],
  "clone of what was fetched": async (env) => (await fetch(`${env.ORIGIN}/body`)).clone().body,
  "fetched, in a request": async (env) =>
    new Request(new Request("http://x/", { method: "POST", body: (await fetch(`${env.ORIGIN}/body`)).body, duplex: "half" } as any)).body,
  "cached": async (env) => {
    await env.CACHE.put("source", BYTES);
    return await env.CACHE.get("source", "stream");
  },
  "stored": (env) => stored(env, BYTES),
  "half of what is stored": async (env) => (await stored(env, BYTES)).tee()[0],
};

const UNKNOWN: Record<string, (env: Env) => any> = {
  "stream": () => streamed(),
  "byte stream": () => streamed("bytes"),
  "half of a stream": () => streamed().tee()[1],
  "generator": () => ReadableStream.from(generated()),
  "body of a generator": () => new Response(generated() as any).body,
  "identity": () => written(new IdentityTransformStream()),
  "transform": () => written(new TransformStream()),
  "coded": () => streamed().pipeThrough(new CompressionStream("gzip")).pipeThrough(new DecompressionStream("gzip")),
  "fetched gzip": async (env) => (await fetch(`${env.ORIGIN}/body?gzip`)).body,
  "fetched brotli": async (env) => (await fetch(`${env.ORIGIN}/body?br`)).body,
};

const SOURCES = { ...KNOWN, ...UNKNOWN };

async function byDefaultReader(stream: ReadableStream) {
  const parts = [];
  for (const reader = stream.getReader();;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
  }
}

async function byOwnMemory(stream: ReadableStream) {
  const parts = [];
  for (const reader = stream.getReader({ mode: "byob" });;) {
    const { done, value } = await reader.read(new Uint8Array(4321));
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value!.slice());
  }
}

const SINKS: Record<string, (stream: any, env: Env) => Promise<any>> = {
  "arrayBuffer": async (stream) => await new Response(stream).arrayBuffer(),
  "blob": async (stream) => await (await new Response(stream).blob()).arrayBuffer(),
  "bytes of a request": async (stream) => await new Request("http://x/", { method: "POST", body: stream, duplex: "half" } as any).arrayBuffer(),
  "reader": byDefaultReader,
  "iteration": async (stream) => {
    const parts = [];
    for await (const part of stream) parts.push(part);
    return await new Blob(parts).arrayBuffer();
  },
  "pipeTo": async (stream) => {
    const parts: any[] = [];
    await stream.pipeTo(new WritableStream({ write: (part) => void parts.push(part) }));
    return await new Blob(parts).arrayBuffer();
  },
  "pipe through identity": async (stream) => await new Response(stream.pipeThrough(new IdentityTransformStream())).arrayBuffer(),
  "tee": async (stream) => {
    const [one, other] = stream.tee();
    const both = await Promise.all([new Response(one).arrayBuffer(), new Response(other).arrayBuffer()]);
    assertEquals(both[0].byteLength, both[1].byteLength);
    return both[0];
  },
  "response twice over": async (stream) => await new Response(new Response(new Response(stream).body).body).arrayBuffer(),
  "upload": async (stream, env) =>
    await (await fetch(`${env.ORIGIN}/back`, { method: "POST", body: stream, duplex: "half" } as any)).arrayBuffer(),
};

const BYTE_STREAMS = [
  ...Object.keys(KNOWN), "byte stream", "identity", "coded", "fetched gzip", "fetched brotli",
];

async function check(name: string, actual: Promise<ArrayBuffer | Uint8Array>) {
  const bytes = new Uint8Array(await actual as ArrayBuffer);
  assertEquals(bytes.length, LENGTH, name);
  const wrong = bytes.findIndex((byte, place) => byte !== BYTES[place]);
  assertEquals(wrong, -1, name);
}

test("every source gives its bytes to every sink", async (env) => {
  for (const [source, open] of Object.entries(SOURCES)) {
    for (const [sink, take] of Object.entries(SINKS)) await check(`${source} to ${sink}`, take(await open(env), env));
  }
});

test("what is a byte stream is read with the reader's own memory", async (env) => {
  for (const source of BYTE_STREAMS) await check(source, byOwnMemory(await SOURCES[source](env)));
});

test("a source of known length is stored, and another refused by name", async (env) => {
  for (const [source, open] of Object.entries(KNOWN)) {
    const { size } = await env.STORAGE.put("sink", await open(env));
    assertEquals(size, LENGTH, source);
    await check(source, (await env.STORAGE.get("sink")).arrayBuffer());
  }
  for (const [source, open] of Object.entries(UNKNOWN)) {
    const stream = await open(env);
    await assertRejects(() => env.STORAGE.put("sink", stream), {
      name: "TypeError",
      message: "Provided readable stream must have a known length (request/response body or readable half of FixedLengthStream)",
    });
  }
  await env.STORAGE.delete(["sink", "source"]);
});

test("every source can be cancelled before, during and after its reading", async (env) => {
  for (const [source, open] of Object.entries(SOURCES)) {
    const whole = await open(env);
    await withinTime(source, whole.cancel("before"));
    const part = (await open(env)).getReader();
    assertEquals((await part.read()).done, false, source);
    await withinTime(source, part.cancel("during"));
    assertEquals((await part.read()).done, true, source);
    const end = await open(env);
    await byDefaultReader(end);
    await assertRejects(async () => await new Response(end).text(), { name: "TypeError", message: /.+/ });
  }
});

// A half of two streams is cancelled when the other is.
async function withinTime(name: string, cancelled: Promise<void>) {
  if (/half|two|clone/.test(name)) return;
  const timeout = new AbortController();
  const late = scheduler.wait(5_000, { signal: timeout.signal } as any).then(() => Promise.reject(new Error(`${name}: not cancelled`)), () => {});
  await Promise.race([cancelled, late]);
  timeout.abort();
}

const FAILING: Record<string, () => any> = {
  "at once": () => new ReadableStream({ start: (controller) => controller.error(new RangeError("on purpose")) }),
  "at first": () => new ReadableStream({ pull: (controller) => controller.error(new RangeError("on purpose")) }),
  "later": () => failing(false),
  "as bytes": () => failing(true),
  "in a generator": () => ReadableStream.from((async function* () { yield encoder.encode("x"); throw new RangeError("on purpose"); })()),
  "in a transform": () => streamed().pipeThrough(new TransformStream({ transform: () => { throw new RangeError("on purpose"); } })),
  "behind a coding": () => failing(false).pipeThrough(new CompressionStream("gzip")),
  "behind identity": () => failing(false).pipeThrough(new IdentityTransformStream()),
  "in a half": () => failing(false).tee()[0],
};

function failing(isOfBytes: boolean) {
  let left = 3;
  return new ReadableStream({
    ...(isOfBytes ? { type: "bytes" } : {}),
    pull(controller: any) {
      if (left-- === 0) throw new RangeError("on purpose");
      controller.enqueue(encoder.encode("some"));
    },
  } as any);
}

test("what a source fails with is what every sink fails with", async (env) => {
  for (const [source, open] of Object.entries(FAILING)) {
    for (const [sink, take] of Object.entries(SINKS)) {
      const error = await take(open(), env).then(() => "none", (error) => `${error.name}: ${error.message} ${error.cause?.message ?? ""}`);
      // Over the network there is only the text.
      const expected = sink === "upload" ? /on purpose/ : /^RangeError: on purpose/;
      assertEquals(expected.test(error), true, `${source} to ${sink}: ${error}`);
    }
  }
});
