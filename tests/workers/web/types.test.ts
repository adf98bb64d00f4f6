// What users could not name without errors: scripts/check-types compiles this file against js/types, and here it runs.

import { assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

test("scheduler.wait resolves, and rejects when its signal is aborted", async () => {
  const waited: Promise<void> = scheduler.wait(1);
  await waited;
  const controller = new AbortController();
  const waiting = scheduler.wait(60_000, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assertRejects(() => waiting, { message: "enough" });
});

test("a body is read chunk by chunk", async () => {
  const request = new Request("http://localhost/", { method: "POST", body: "abc" });
  let length = 0;
  for await (const chunk of request.body!) length += chunk.byteLength;
  assertEquals(length, 3);
  const stream = new Response("abc").body!;
  for await (const chunk of stream.values({ preventCancel: true })) assertEquals(chunk.length, 3);
});

test("ReadableStream.from takes what can be iterated", async () => {
  const numbers: ReadableStream<number> = ReadableStream.from([1, 2]);
  const seen: number[] = [];
  for await (const number of numbers) seen.push(number * 2);
  assertEquals(seen, [2, 4]);
  const generator = async function* () { yield "a"; };
  const texts: ReadableStream<string> = ReadableStream.from(generator());
  assertEquals(await texts.getReader().read(), { done: false, value: "a" });
  const refused = { name: "TypeError", message: /./ };
  // @ts-expect-error: no other constructor has it.
  assertThrows(() => TransformStream.from([1]), refused);
  // @ts-expect-error: a number cannot be iterated.
  assertThrows(() => ReadableStream.from(5), refused);
});
