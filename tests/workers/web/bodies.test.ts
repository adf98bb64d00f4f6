// Bodies of requests and responses: what they may be made of, how they are read, what statuses and methods go with them.

import { assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const encoder = new TextEncoder();

const from = (...chunks: any[]) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

async function packed(bytes: Uint8Array<ArrayBuffer> | string, format: CompressionFormat = "gzip") {
  const stream = new CompressionStream(format);
  const writer = stream.writable.getWriter();
  writer.write(typeof bytes === "string" ? encoder.encode(bytes) : bytes);
  writer.close();
  return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

async function readByByob(stream: ReadableStream) {
  const reader = stream.getReader({ mode: "byob" });
  const first = await reader.read(new Uint8Array(2));
  const second = await reader.read(new Uint8Array(10));
  const third = await reader.read(new Uint8Array(3));
  return [first.done, [...first.value!], second.done, [...second.value!], third.done, third.value!.byteLength];
}

const FOO = [false, [102, 111], false, [111], true, 0];

test("bodies that were given whole are byte streams", async () => {
  for (
    const [name, stream] of Object.entries({
      "response of text": new Response("foo").body,
      "response of bytes": new Response(encoder.encode("foo")).body,
      "response of a blob": new Response(new Blob(["foo"])).body,
      "request of text": new Request("http://x/", { method: "POST", body: "foo" }).body,
      "request of a request": new Request(new Request("http://x/", { method: "POST", body: "foo" })).body,
      "clone": new Response("foo").clone().body,
      "one of two": new Response("foo").body!.tee()[1],
      "blob": new Blob(["foo"]).stream(),
    })
  ) {
    assertEquals(await readByByob(stream!), FOO, name);
  }
  const empty = new Response("").body!.getReader({ mode: "byob" });
  assertEquals((await empty.read(new Uint8Array(2))).done, true);
  assertThrows(() => new Response(from(encoder.encode("foo"))).body!.getReader({ mode: "byob" }), { name: "TypeError", message: /.+/ });
});

test("a body read as a stream leaves the bytes it was made of, and its clone, alone", async () => {
  const bytes = encoder.encode("whole");
  const response = new Response(bytes);
  const clone = response.clone();
  const { value } = await response.body!.getReader().read();
  value!.fill(0);
  assertEquals([await clone.text(), new TextDecoder().decode(bytes)], ["whole", "whole"]);
});

test("chunks of a body may be any buffer, and no text", async () => {
  const buffer = new Uint8Array([97, 98]).buffer;
  const chunks = [buffer, new DataView(buffer, 1, 1), new Uint16Array([0x6161]), encoder.encode("!"), new Uint8Array(0)];
  assertEquals(await new Response(from(...chunks)).text(), "abbaa!");
  for (const chunk of ["text", 5, null, undefined, {}, true]) {
    const expected = { name: "TypeError", message: "This ReadableStream did not return bytes." };
    await assertRejects(() => new Response(from(chunk)).text(), expected);
    await assertRejects(() => new Request("http://x/", { method: "POST", body: from(chunk), duplex: "half" } as any).arrayBuffer(), expected);
  }
});

test("a chunk that is no bytes cancels the stream it came from", async () => {
  let reason: any;
  const stream = new ReadableStream({ pull: (controller) => controller.enqueue(5 as any), cancel: (why) => void (reason = why) });
  await assertRejects(() => new Response(stream).text(), { name: "TypeError", message: /did not return bytes/ });
  assertEquals(String(reason), "TypeError: This ReadableStream did not return bytes.");
});

test("a status without a body takes an empty one", async () => {
  const expected = { name: "TypeError", message: "Response with null body status (101, 204, 205, or 304) cannot have a body." };
  for (const status of [204, 205, 304]) {
    for (const body of ["", new Uint8Array(0), new ArrayBuffer(0), null, undefined]) {
      const response = new Response(body, { status });
      assertEquals([response.status, response.body, await response.text(), [...response.headers]], [status, null, "", []]);
    }
    for (const body of ["x", new Uint8Array(1), from()]) assertThrows(() => new Response(body, { status }), expected);
  }
  assertThrows(() => Response.json(null, { status: 204 }), expected);
});

test("a response is no answer that goes on", () => {
  const expected = { name: "RangeError", message: "Responses may only be constructed with status codes in the range 200 to 599, inclusive." };
  for (const status of [0, 100, 101, 199, 600, "abc", null]) {
    assertThrows(() => new Response(null, { status: status as number }), expected);
    assertThrows(() => Response.json({}, { status: status as number }), expected);
  }
  assertEquals([new Response(null, { status: "204" as any }).status, new Response("", { status: 200.7 }).status], [204, 200]);
});

test("options of a response are read once", () => {
  const read: string[] = [];
  const init = new Proxy({ status: 201, statusText: "Made", headers: { a: "b" } }, {
    get: (target: any, key) => (read.push(String(key)), target[key]),
  });
  const response = new Response("x", init);
  assertEquals([response.status, response.statusText, response.headers.get("a")], [201, "Made", "b"]);
  assertEquals(read.filter((key) => ["status", "statusText", "headers"].includes(key)), ["status", "statusText", "headers"]);
});

test("Response is a class that can be extended, and the class of what fetch returns", async () => {
  class Mine extends Response {
    get mine() {
      return this.status;
    }
  }
  const mine = new Mine("x", { status: 201 });
  assertEquals([mine.mine, mine instanceof Response, await mine.text(), mine.constructor === Mine], [201, true, "x", true]);
  assertEquals([Object.getPrototypeOf(new Response("")) === Response.prototype, new Response("").constructor === Response], [true, true]);
  assertEquals([(await fetch("data:,x")) instanceof Response, Response.json({}) instanceof Response], [true, true]);
  assertThrows(() => (Response as any)("x"), { name: "TypeError", message: /.+/ });
  assertEquals([Response.name, Response.length], ["Response", 0]);
});

test("encodeBody has two values", () => {
  assertEquals(new Response("x", { encodeBody: "manual" }).status, 200);
  assertEquals(new Response("x", { encodeBody: "automatic" }).status, 200);
  assertThrows(() => new Response("x", { encodeBody: "foo" as any }), { name: "TypeError", message: "encodeBody: unexpected value: foo" });
});

test("the methods of HTTP are upper case", () => {
  for (const method of ["patch", "Patch", "post", "purge", "propfind", "get", "head", "Delete", "options", "query"]) {
    const request = new Request("http://x/", { method });
    assertEquals([request.method, new Request(request).method], [method.toUpperCase(), method.toUpperCase()]);
  }
  for (const method of ["", "a b", "connect", "TRACK"]) {
    assertThrows(() => new Request("http://x/", { method }), { name: "TypeError", message: `Invalid HTTP method string: ${method}` });
  }
});

test("a compression stream is written and closed before anybody reads", async () => {
  for (const text of ["abc", "", "x".repeat(3_000_000)]) {
    const compression = new CompressionStream("gzip");
    const writer = compression.writable.getWriter();
    await writer.write(encoder.encode(text));
    await writer.close();
    const gzip = new Uint8Array(await new Response(compression.readable).arrayBuffer());
    const decompression = new DecompressionStream("gzip");
    const second = decompression.writable.getWriter();
    await second.write(gzip);
    await second.close();
    assertEquals(await new Response(decompression.readable).text() === text, true, `${text.length}`);
  }
});

test("what is decompressed comes in pieces, as it is read", async () => {
  const bomb = await packed(new Uint8Array(20_000_000));
  const stream = new DecompressionStream("gzip");
  const writer = stream.writable.getWriter();
  writer.write(bomb);
  writer.close();
  let total = 0;
  let longest = 0;
  for await (const piece of stream.readable as any) {
    total += piece.byteLength;
    longest = Math.max(longest, piece.byteLength);
  }
  assertEquals([total, longest <= 64 * 1024], [20_000_000, true]);
});

test("a pipe into a compression stream goes no faster than its reader", async () => {
  const bomb = await packed(new Uint8Array(10_000_000));
  let pulled = 0;
  const source = new ReadableStream({
    pull(controller) {
      if (pulled === bomb.length) return controller.close();
      controller.enqueue(bomb.slice(pulled, pulled += 100));
    },
  }, { highWaterMark: 0 });
  const reader = source.pipeThrough(new DecompressionStream("gzip")).getReader();
  await reader.read();
  await scheduler.wait(5);
  assertEquals(pulled < bomb.length / 2, true, `${pulled} of ${bomb.length}`);
  await reader.cancel();
});

test("the readable sides of compression streams are byte streams", async () => {
  const packing = new CompressionStream("deflate");
  const writer = packing.writable.getWriter();
  writer.write(encoder.encode("foo"));
  writer.close();
  assertEquals(await readByByob(packing.readable.pipeThrough(new DecompressionStream("deflate"))), FOO);
});

test("broken compressed data is a TypeError on both sides", async () => {
  const write = async (bytes: Uint8Array<ArrayBuffer>) => {
    const stream = new DecompressionStream("gzip");
    const writer = stream.writable.getWriter();
    const written = writer.write(bytes).then(() => writer.close()).then(() => "closed", (error) => `${error.name}: ${error.message}`);
    const read = await new Response(stream.readable).text().catch((error) => `${error.name}: ${error.message}`);
    return [await written, read];
  };
  const gzip = await packed("abc");
  const failed = "TypeError: Decompression failed.";
  const cut = "TypeError: Called close() on a decompression stream with incomplete data";
  const trailing = "TypeError: Trailing bytes after end of compressed data";
  assertEquals(await write(encoder.encode("hello world")), [failed, failed]);
  assertEquals(await write(gzip.slice(0, -3)), [cut, cut]);
  assertEquals(await write(new Uint8Array(0)), [cut, cut]);
  assertEquals(await write(new Uint8Array([...gzip, 1, 2])), [trailing, trailing]);
  assertEquals(await write(new Uint8Array([...gzip, ...gzip])), [trailing, trailing]);
});

test("a compression stream takes bytes only and knows three formats", async () => {
  const text = "This TransformStream is being used as a byte stream, but received a string on its writable side. If you wish to write a string, you'll probably want to explicitly UTF-8-encode it with TextEncoder.";
  const other = "This TransformStream is being used as a byte stream, but received an object of non-ArrayBuffer/ArrayBufferView type on its writable side.";
  for (const [chunk, message] of [["hello", text], [5, other], [{}, other]] as const) {
    const stream = new CompressionStream("gzip");
    await assertRejects(() => stream.writable.getWriter().write(chunk as any), { name: "TypeError", message });
  }
  const message = "The compression format must be either 'deflate', 'deflate-raw' or 'gzip'.";
  assertThrows(() => new CompressionStream("lzma" as any), { name: "TypeError", message });
  const stream = new CompressionStream("gzip");
  assertEquals([String(stream), stream instanceof TransformStream, String(stream.readable)], [
    "[object CompressionStream]", true, "[object ReadableStream]",
  ]);
});

test("cancelling and aborting a compression stream reaches the other side", async () => {
  const cancelled = new CompressionStream("gzip");
  await cancelled.readable.cancel(new Error("why"));
  await assertRejects(() => cancelled.writable.getWriter().write(new Uint8Array(5)), { message: "why" });
  const aborted = new DecompressionStream("gzip");
  const reader = aborted.readable.getReader();
  await aborted.writable.getWriter().abort(new Error("why"));
  await assertRejects(() => reader.read(), { message: "why" });
});

const part = (head: string, value = "v") => `--B\r\n${head}\r\n\r\n${value}\r\n--B--\r\n`;
const disposition = (parameters: string) => part(`Content-Disposition: form-data; ${parameters}`);

async function entries(body: string) {
  const form = await new Response(body, { headers: { "content-type": "multipart/form-data; boundary=B" } }).formData();
  return await Promise.all([...form].map(async ([name, value]: any) =>
    typeof value === "string" ? [name, value] : [name, [value.name, value.type, await value.text()]]
  ));
}

test("a quoted name of a form's part goes up to its closing quote", async () => {
  for (
    const [parameters, expected] of [
      ['name="a"; filename="a;b.txt"', ["a", ["a;b.txt", "", "v"]]],
      ['name="a"; filename="x=y.txt"', ["a", ["x=y.txt", "", "v"]]],
      ['name="a;b"', ["a;b", "v"]],
      ['name="a,b"; filename="c, d.txt"', ["a,b", ["c, d.txt", "", "v"]]],
      ['name=" a b "', [" a b ", "v"]],
      ['name="a%22b"', ["a%22b", "v"]],
      ['name="a\\"b"', ['a"b', "v"]],
      ['filename="f.txt"; name="abc"', ["abc", ["f.txt", "", "v"]]],
      ['filename="; name=b; "; name="a"', ["a", ["; name=b; ", "", "v"]]],
      ['filename="name=\\"x\\""; name="a"', ["a", ['name="x"', "", "v"]]],
      ['name="a" ; filename="b"', ["a", ["b", "", "v"]]],
      ['name="né"; filename="日本.txt"', ["né", ["日本.txt", "", "v"]]],
      ['name="a"; filename=""', ["a", "v"]],
      ['name="a";', ["a", "v"]],
      ['xname="z"; name="a"', ["a", "v"]],
      ['name = "a"', ["a", "v"]],
    ] as const
  ) {
    assertEquals(await entries(disposition(parameters)), [expected], parameters);
  }
  assertEquals(await entries(disposition('name="a"; filename="C:\\dir\\"')), [["a", ["C:\\dir\\", "", "v"]]]);
  assertEquals(await entries(part('Content-Disposition:form-data;name="a"; filename="f"\r\nContent-Type: image/png')), [["a", ["f", "image/png", "v"]]]);
  assertEquals(await entries(part('Content-Disposition: form-data;\r\n name="a"')), [["a", "v"]]);
});

test("the lines of a form may end in line feeds, and words may stand around it", async () => {
  const form = disposition('name="a"');
  assertEquals(await entries(form.replaceAll("\r\n", "\n")), [["a", "v"]]);
  assertEquals(await entries(`before\r\n${form}after`), [["a", "v"]]);
  assertEquals([await entries("--B--"), await entries("--B--\r\n")], [[], []]);
  assertEquals(await entries(part('Content-Disposition: form-data; name="a"', "")), [["a", ""]]);
  assertEquals(await entries(part('Content-Disposition: form-data; name="a"', "x\r\n\n--y")), [["a", "x\r\n\n--y"]]);
});

test("a form that was cut off, or has a part without a name, is a TypeError", async () => {
  const begin = '--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nv';
  const expected = {
    "No subsequent boundary string after multipart message.": [begin, `${begin}\r\n--B`, `${begin}\r\n--B\r\nContent-Disposition: form-data; name="b"\r\n\r\nw`],
    "No multipart message header termination found.": [`${begin}\r\n--B\r\n`, '--B\r\nContent-Disposition: form-data; name="a"', "--B\r\n"],
    "Boundary string was not succeeded by CRLF, LF, or '--'.": [`${begin}\r\n--B-`, `${begin}\r\n--Bx\r\nz\r\n--B--`],
    "No initial boundary string (or you have a truncated message).": ["", "--B", "--C\r\nx\r\n--C--"],
    "Content-Disposition header in FormData part is missing a name.": [disposition('name=""'), disposition('filename="f"'), disposition('name="a'), part("Content-Disposition: form-data")],
    "No valid Content-Disposition header found in FormData part.": [part("Content-Type: text/plain")],
    'Content-Disposition header for FormData part must have the value "form-data", possibly followed by parameters. Got: "attachment"': [part('Content-Disposition: attachment; name="a"')],
    "FormData part had invalid headers.": [part('garbage\r\nContent-Disposition: form-data; name="a"'), part('X A: b\r\nContent-Disposition: form-data; name="a"')],
  };
  for (const [message, bodies] of Object.entries(expected)) {
    for (const body of bodies) await assertRejects(() => entries(body), { name: "TypeError", message });
  }
});

test("a form that the worker wrote reads as it was", async () => {
  const form = new FormData();
  form.append("k;1=2", new File(["x"], "a; b=c, d.txt", { type: "text/x" }));
  form.append("plain", "v\r\n--B");
  const back = await new Response(form).formData();
  const file = back.get("k;1=2") as File;
  assertEquals([file.name, file.type, await file.text(), back.get("plain")], ["a; b=c, d.txt", "text/x", "x", "v\r\n--B"]);
});
