// Streams in and out: contract sections 4.1 and 8.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const LARGE = 1_000_000;
const pattern = (length: number) => Uint8Array.from({ length }, (_, place) => (place * 31 + (place >> 8)) % 251);
const same = (one: Uint8Array, two: Uint8Array) =>
  one.length === two.length && one.every((byte, place) => byte === two[place]);
const UNKNOWN_LENGTH =
  "Provided readable stream must have a known length (request/response body or readable half of FixedLengthStream)";

// Chunks of the same size, none made before it is pulled; counts them.
function chunks(all: Uint8Array, size: number) {
  const state = { pulled: 0, cancelled: undefined as unknown };
  const stream = new ReadableStream({
    pull(controller) {
      const chunk = all.slice(state.pulled * size, (state.pulled + 1) * size);
      state.pulled += 1;
      if (chunk.length === 0) controller.close();
      else controller.enqueue(chunk);
    },
    cancel(reason) {
      state.cancelled = reason;
    },
  }, { highWaterMark: 0 });
  return { state, stream };
}

test("a large body is a stream that is read piece by piece", async (env) => {
  const all = pattern(LARGE);
  await env.STORAGE.put("key", all);
  assert(same(await (await env.STORAGE.get("key")).bytes(), all), "the same bytes at once");
  const { body } = await env.STORAGE.get("key");
  const reader = body.getReader({ mode: "byob" });
  const read = new Uint8Array(LARGE);
  let position = 0;
  while (true) {
    const { value, done } = await reader.read(new Uint8Array(50_000));
    if (done) break;
    read.set(value, position);
    position += value.length;
  }
  assert(same(read, all), "the same bytes in pieces");
});

test("a body that is cancelled or forgotten harms nobody", async (env) => {
  await env.STORAGE.put("key", pattern(LARGE));
  const { body } = await env.STORAGE.get("key");
  const reader = body.getReader();
  await reader.read();
  await reader.cancel("enough");
  await env.STORAGE.get("key");
  assertEquals((await env.STORAGE.get("key")).size, LARGE);
});

test("a body goes on while its object is replaced", async (env) => {
  const all = pattern(LARGE);
  await env.STORAGE.put("key", all);
  const old = await env.STORAGE.get("key");
  await env.STORAGE.put("key", "new");
  await env.STORAGE.delete("key");
  assert(same(await old.bytes(), all), "the object that was found");
});

test("the body of one object can be put as another", async (env) => {
  for (const all of [pattern(100), pattern(LARGE)]) {
    await env.STORAGE.put("one", all);
    const one = await env.STORAGE.get("one");
    const two = await env.STORAGE.put("two", one.body);
    assertEquals([two.size, two.etag, one.bodyUsed], [all.length, one.etag, true]);
    assert(same(await (await env.STORAGE.get("two")).bytes(), all), "the same bytes");
  }
});

test("the body of a response or request of known length can be put", async (env) => {
  for (const value of ["text", pattern(LARGE), new Blob(["blob"])]) {
    const expected = new Uint8Array(await new Response(value).arrayBuffer());
    if (!(value instanceof Blob)) {
      await env.STORAGE.put("key", new Response(value).body);
      assert(same(await (await env.STORAGE.get("key")).bytes(), expected), "the same bytes");
      await env.STORAGE.put("key", new Request("http://localhost", { method: "POST", body: value }).body);
      assert(same(await (await env.STORAGE.get("key")).bytes(), expected), "the same bytes");
    }
  }
});

test("a FixedLengthStream can be put and is pulled as it is stored", async (env) => {
  const all = pattern(LARGE);
  const { stream, state } = chunks(all, 10_000);
  const fixed = new FixedLengthStream(LARGE);
  const piped = stream.pipeTo(fixed.writable);
  const object = await env.STORAGE.put("key", fixed.readable);
  await piped;
  assertEquals([object.size, state.pulled], [LARGE, LARGE / 10_000 + 1]);
  assert(same(await (await env.STORAGE.get("key")).bytes(), all), "the same bytes");
});

test("a stream of unknown length is a TypeError", async (env) => {
  const expected = { name: "TypeError", message: UNKNOWN_LENGTH };
  await assertRejects(() => env.STORAGE.put("key", chunks(pattern(10), 5).stream), expected);
  await assertRejects(() => env.STORAGE.put("key", new IdentityTransformStream().readable), expected);
  const upload = await env.STORAGE.createMultipartUpload("key");
  await assertRejects(() => upload.uploadPart(1, chunks(pattern(10), 5).stream), expected);
  const locked = new Response("x").body!;
  locked.getReader();
  await assertRejects(() => env.STORAGE.put("key", locked), {
    name: "TypeError",
    message: "This ReadableStream is currently locked to a reader.",
  });
});

test("a part can be a stream", async (env) => {
  const all = pattern(LARGE);
  const upload = await env.STORAGE.createMultipartUpload("key");
  const fixed = new FixedLengthStream(LARGE);
  chunks(all, 100_000).stream.pipeTo(fixed.writable);
  const parts = [await upload.uploadPart(1, fixed.readable), await upload.uploadPart(2, new Response(all).body)];
  await upload.complete(parts);
  const { body, size } = await env.STORAGE.get("key");
  assertEquals(size, 2 * LARGE);
  const read = new Uint8Array(await new Response(body).arrayBuffer());
  assert(same(read.subarray(0, LARGE), all) && same(read.subarray(LARGE), all), "both parts");
});

test("a stream that fails stores nothing and is cancelled", async (env) => {
  await env.STORAGE.put("key", "old");
  const fixed = new FixedLengthStream(LARGE);
  const writer = fixed.writable.getWriter();
  const putting = env.STORAGE.put("key", fixed.readable);
  await writer.write(pattern(LARGE / 2));
  writer.abort(new Error("the source is gone")).catch(() => {});
  await assertRejects(() => putting, { message: "the source is gone" });
  assertEquals(await (await env.STORAGE.get("key")).text(), "old");

  const refused = new FixedLengthStream(5);
  const piped = chunks(pattern(5), 5);
  const piping = piped.stream.pipeTo(refused.writable);
  await assertRejects(() => env.STORAGE.put("x".repeat(2000), refused.readable), {
    message: "put: The specified object name is not valid. (10020)",
  });
  await piping.then(() => {}, () => {});
});

test("a FixedLengthStream takes exactly what was announced", async () => {
  const short = new FixedLengthStream(10);
  const writer = short.writable.getWriter();
  const reading = new Response(short.readable).arrayBuffer();
  writer.write(pattern(5));
  const expected = { name: "TypeError", message: "FixedLengthStream did not see all expected bytes before close()." };
  await assertRejects(() => writer.close(), expected);
  await assertRejects(() => reading, expected);

  const long = new FixedLengthStream(4);
  const longWriter = long.writable.getWriter();
  longWriter.closed.catch(() => {});
  const longReading = new Response(long.readable).arrayBuffer();
  longReading.catch(() => {});
  await assertRejects(() => longWriter.write(pattern(5)), {
    name: "TypeError",
    message: "Attempt to write too many bytes through a FixedLengthStream.",
  });
  for (const length of [-1, 1.5, NaN, 2 ** 53]) {
    let message = "";
    try {
      new FixedLengthStream(length);
    } catch (error) {
      message = (error as Error).message;
    }
    assertEquals(message, "FixedLengthStream requires an integer expected length less than 2^53.");
  }
});

test("an IdentityTransformStream gives what it takes", async () => {
  const { readable, writable } = new IdentityTransformStream();
  assert(new IdentityTransformStream() instanceof TransformStream, "a TransformStream");
  const writer = writable.getWriter();
  const reader = readable.getReader({ mode: "byob" });
  const source = pattern(10);
  const writing = writer.write(source).then(() => source.fill(0)).then(() => writer.close());
  const first = await reader.read(new Uint8Array(4));
  assertEquals([...first.value!], [...pattern(10).subarray(0, 4)]);
  const rest = await reader.read(new Uint8Array(40));
  assertEquals([...rest.value!], [...pattern(10).subarray(4)]);
  const [end] = await Promise.all([reader.read(new Uint8Array(1)), writing]);
  assertEquals(end.done, true);

  const text = new IdentityTransformStream();
  const textWriter = text.writable.getWriter();
  textWriter.closed.catch(() => {});
  text.readable.getReader().read().catch(() => {});
  await assertRejects(() => textWriter.write("text" as any), { name: "TypeError", message: /received a string on its writable side/ });

  const piped = new Blob(["through"]).stream().pipeThrough(new IdentityTransformStream());
  assertEquals(await new Response(piped).text(), "through");
});

test("a reader that goes away ends the writer", async () => {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  writer.closed.catch(() => {});
  const writing = writer.write(pattern(1));
  writing.catch(() => {});
  await readable.cancel("gone");
  let reason: unknown;
  await writer.write(pattern(1)).catch((error: unknown) => reason = error);
  assertEquals(reason, "gone");
});
