// Streams, encodings and compression.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const from = (...chunks: any[]) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

async function collect(stream: ReadableStream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const bytes = (text: string) => new TextEncoder().encode(text);

test("a stream is read by a reader, by iteration and by a response", async () => {
  const reader = from(1, 2).getReader();
  assertEquals([await reader.read(), await reader.read(), await reader.read()], [
    { value: 1, done: false }, { value: 2, done: false }, { value: undefined, done: true },
  ]);
  assertEquals(await collect(from("a", "b")), ["a", "b"]);
  assertEquals(await new Response(from(bytes("a"), bytes("b"))).text(), "ab");
});

test("ReadableStream.from takes iterables", async () => {
  async function* numbers() {
    yield 1;
    yield 2;
  }
  assertEquals(await collect(ReadableStream.from(numbers())), [1, 2]);
  assertEquals(await collect(ReadableStream.from(["x"])), ["x"]);
});

test("pull is called as the reader asks and cancel as it leaves", async () => {
  const calls: string[] = [];
  let n = 0;
  const stream = new ReadableStream({
    pull: (controller) => { calls.push(`pull ${n}`); controller.enqueue(n++); },
    cancel: (reason) => { calls.push(`cancel ${reason}`); },
  }, { highWaterMark: 0 });
  const reader = stream.getReader();
  await reader.read();
  await reader.read();
  await reader.cancel("enough");
  assertEquals(calls, ["pull 0", "pull 1", "cancel enough"]);
});

test("a byte stream fills the buffer of a BYOB reader", async () => {
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      const request = controller.byobRequest!;
      const view = request.view as Uint8Array;
      view[0] = 7;
      request.respond(1);
    },
  });
  const reader = stream.getReader({ mode: "byob" });
  const { value, done } = await reader.read(new Uint8Array(4));
  assertEquals([done, [...value!], value!.buffer.byteLength], [false, [7], 4]);
});

test("tee gives two streams of the same chunks", async () => {
  const [one, two] = from(1, 2, 3).tee();
  assertEquals([await collect(two), await collect(one)], [[1, 2, 3], [1, 2, 3]]);
});

test("pipeThrough transforms and pipeTo ends the writer", async () => {
  const double = new TransformStream({
    transform: (chunk, controller) => controller.enqueue(chunk * 2),
    flush: (controller) => controller.enqueue("end"),
  });
  const written: unknown[] = [];
  await from(1, 2).pipeThrough(double).pipeTo(
    new WritableStream({ write: (chunk) => void written.push(chunk), close: () => void written.push("closed") }),
  );
  assertEquals(written, [2, 4, "end", "closed"]);
});

test("an error travels down a pipe", async () => {
  const failing = new ReadableStream({ pull() { throw new RangeError("mine"); } });
  await assertRejects(() => failing.pipeThrough(new TransformStream()).getReader().read(), { name: "RangeError", message: "mine" });
  await assertRejects(() => new Response(new ReadableStream({ pull() { throw new RangeError("body"); } })).text(), {
    name: "RangeError",
    message: "body",
  });
});

test("a locked stream is refused", () => {
  const stream = from(1);
  stream.getReader();
  assertEquals(stream.locked, true);
  assertThrows(() => stream.getReader(), { name: "TypeError", message: /.+/ });
});

test("a pipe can be aborted", async () => {
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(1) });
  const abort = new AbortController();
  let chunks = 0;
  const sink = new WritableStream({ write() { if (++chunks === 3) abort.abort(new RangeError("stop")); } });
  await assertRejects(() => endless.pipeTo(sink, { signal: abort.signal }), { name: "RangeError", message: "stop" });
});

test("gzip, deflate and deflate-raw go round", async () => {
  const text = "hello ".repeat(1000) + "wörld";
  for (const format of ["gzip", "deflate", "deflate-raw"] as const) {
    const packed = await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream(format))).bytes();
    assert(packed.length < 200, `${format} makes it small, not ${packed.length}`);
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream(format));
    assertEquals(await new Response(unpacked).text(), text);
  }
});

test("gzip that another program wrote is read", async () => {
  const packed = Uint8Array.from(atob("H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA=="), (char) => char.charCodeAt(0));
  assertEquals(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text(), "hello");
});

test("broken gzip is a TypeError", async () => {
  const broken = new Blob(["not gzip"]).stream().pipeThrough(new DecompressionStream("gzip"));
  await assertRejects(() => new Response(broken).text(), { name: "TypeError", message: /.+/ });
  assertThrows(() => new CompressionStream("lzma" as any), { name: "TypeError", message: /.+/ });
});

test("text streams keep characters that are cut between chunks", async () => {
  const encoded = bytes("ä😀");
  const chunks = [...encoded].map((byte) => new Uint8Array([byte]));
  assertEquals((await collect(from(...chunks).pipeThrough(new TextDecoderStream()))).join(""), "ä😀");
  const back = await collect(from("a\ud83d", "\ude00").pipeThrough(new TextEncoderStream()));
  assertEquals(new TextDecoder().decode(await new Blob(back).arrayBuffer()), "a😀");
});

test("queuing strategies count chunks and bytes", () => {
  assertEquals(new CountQueuingStrategy({ highWaterMark: 4 }).highWaterMark, 4);
  const controller: any = {};
  new ReadableStream({ start: (it) => { controller.it = it; } }, new ByteLengthQueuingStrategy({ highWaterMark: 10 }));
  controller.it.enqueue(new Uint8Array(4));
  assertEquals(controller.it.desiredSize, 6);
});

test("a writer waits for a slow sink", async () => {
  let release = () => {};
  const gate = new Promise<void>((resolve) => { release = resolve; });
  const writer = new WritableStream({ write: () => gate }, { highWaterMark: 1 }).getWriter();
  writer.write(1);
  assertEquals(writer.desiredSize, 0);
  release();
  await writer.ready;
  assertEquals(writer.desiredSize, 1);
  await writer.close();
});

test("TextDecoder knows encodings, byte order marks and errors", () => {
  assertEquals(new TextDecoder("utf-16le").decode(new Uint8Array([0x61, 0, 0x3d, 0xd8, 0, 0xde])), "a😀");
  assertEquals(new TextDecoder("utf-16be").decode(new Uint8Array([0, 0x61])), "a");
  assertEquals(new TextDecoder("iso-8859-1").decode(new Uint8Array([0xe4, 0x80])), "ä€");
  assertEquals(new TextDecoder("shift_jis").decode(new Uint8Array([0x82, 0xa0])), "あ");
  assertEquals(new TextDecoder("latin1").encoding, "windows-1252");
  assertEquals(new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])), "a");
  assertEquals(new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])), "\ufeffa");
  assertEquals(new TextDecoder().decode(new Uint8Array([0xff, 0x61])), "\ufffda");
  assertThrows(() => new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([0xff])), { name: "TypeError", message: /.+/ });
  assertThrows(() => new TextDecoder("nope"), { name: "RangeError", message: /.+/ });
});

test("TextDecoder decodes in pieces", () => {
  const decoder = new TextDecoder();
  const parts = [decoder.decode(new Uint8Array([0xe6, 0xbc]), { stream: true }), decoder.decode(new Uint8Array([0xa2]), { stream: true }), decoder.decode()];
  assertEquals(parts, ["", "漢", ""]);
});

test("TextEncoder encodes and encodes into", () => {
  assertEquals([...bytes("aä漢😀\ud800")], [97, 195, 164, 230, 188, 162, 240, 159, 152, 128, 239, 191, 189]);
  const target = new Uint8Array(4);
  assertEquals(new TextEncoder().encodeInto("a漢ä", target), { read: 2, written: 4 });
});

test("atob and btoa", () => {
  assertEquals(btoa("\u0000ÿ"), "AP8=");
  assertEquals(atob(" A P8 "), "\u0000ÿ");
  assertThrows(() => btoa("漢"), { name: "InvalidCharacterError", message: /.+/ });
  assertThrows(() => atob("a"), { name: "InvalidCharacterError", message: /.+/ });
});
