// Ranges and conditions: contract sections 4.3 and 4.4.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const TEXT = "0123456789";

test("a range has those bytes and says which", async (env) => {
  await env.STORAGE.put("key", TEXT);
  for (
    const [range, offset, expected] of [
      [{ offset: 3 }, 3, "3456789"],
      [{ offset: 3, length: 2 }, 3, "34"],
      [{ offset: 8, length: 20 }, 8, "89"],
      [{ length: 4 }, 0, "0123"],
      [{ suffix: 3 }, 7, "789"],
      [{ suffix: 30 }, 0, TEXT],
      [{}, 0, TEXT],
      [new Headers({ range: "bytes=2-4" }), 2, "234"],
      [new Headers({ range: "bytes=-2" }), 8, "89"],
      [new Headers({ range: "bytes=0-1,4-5" }), 0, TEXT],
      [new Headers({ range: "nonsense" }), 0, TEXT],
      [new Headers(), 0, TEXT],
    ] as [any, number, string][]
  ) {
    const object = await env.STORAGE.get("key", { range });
    assertEquals(object.range, { offset, length: expected.length });
    assertEquals([object.size, await object.text()], [10, expected]);
  }
});

test("a range of nothing is refused", async (env) => {
  await env.STORAGE.put("key", TEXT);
  for (const range of [{ offset: 11 }, { offset: 10 }, { length: 0 }, { suffix: 0 }]) {
    await assertRejects(() => env.STORAGE.get("key", { range }), {
      message: "get: The requested range is not satisfiable (10039)",
    });
  }
});

test("a range that is none is a RangeError or a TypeError", async (env) => {
  for (
    const [range, name, message] of [
      [{ offset: -1 }, "RangeError", "Invalid range. Starting offset (-1) must be greater than or equal to 0."],
      [{ offset: 1.5 }, "RangeError", "Invalid range. Starting offset (1.5) must be an integer, not floating point."],
      [{ length: -1 }, "RangeError", "Invalid range. Length (-1) must be greater than or equal to 0."],
      [{ length: 1.5 }, "RangeError", "Invalid range. Length (1.5) must be an integer, not floating point."],
      [{ suffix: -1 }, "RangeError", "Invalid suffix. Suffix (-1) must be greater than or equal to 0."],
      [{ suffix: 1.5 }, "RangeError", "Invalid range. Suffix (1.5) must be an integer, not floating point."],
      [{ suffix: 1, offset: 1 }, "TypeError", "Suffix is incompatible with offset."],
      [{ suffix: 1, length: 1 }, "TypeError", "Suffix is incompatible with length."],
    ] as [any, string, string][]
  ) {
    await assertRejects(() => env.STORAGE.get("key", { range }), { name, message });
  }
});

test("a get whose condition fails has no body", async (env) => {
  const { etag } = await env.STORAGE.put("key", TEXT);
  const failed = await env.STORAGE.get("key", { onlyIf: { etagMatches: "other" } });
  assertEquals([failed.key, failed.etag, failed.body, failed.text], ["key", etag, undefined, undefined]);
  assertEquals(failed.range, { offset: 0, length: 10 });
  assertEquals(await (await env.STORAGE.get("key", { onlyIf: { etagMatches: etag } })).text(), TEXT);
  assertEquals((await env.STORAGE.get("key", { onlyIf: { etagDoesNotMatch: etag } })).body, undefined);
  assertEquals((await env.STORAGE.get("key", { onlyIf: { etagDoesNotMatch: "*" } })).body, undefined);
  assertEquals(await env.STORAGE.get("missing", { onlyIf: { etagMatches: "*" } }), null);
});

test("conditions can be headers", async (env) => {
  const { httpEtag, uploaded } = await env.STORAGE.put("key", TEXT);
  const get = async (headers: Record<string, string>) =>
    (await env.STORAGE.get("key", { onlyIf: new Headers(headers) })).body !== undefined;
  const later = new Date(uploaded.getTime() + 2000).toUTCString();
  const earlier = new Date(uploaded.getTime() - 2000).toUTCString();
  assertEquals(await get({ "if-match": httpEtag }), true);
  assertEquals(await get({ "if-match": `"a", ${httpEtag}` }), true);
  assertEquals(await get({ "if-match": `W/${httpEtag}` }), false);
  assertEquals(await get({ "if-none-match": `W/${httpEtag}` }), false);
  assertEquals(await get({ "if-none-match": "*" }), false);
  assertEquals(await get({ "if-modified-since": later }), false);
  assertEquals(await get({ "if-modified-since": uploaded.toUTCString() }), false);
  assertEquals(await get({ "if-modified-since": earlier }), true);
  assertEquals(await get({ "if-unmodified-since": later }), true);
  assertEquals(await get({ "if-unmodified-since": earlier }), false);
  assertEquals(await get({ "if-modified-since": "no date" }), true);
  await assertRejects(() => env.STORAGE.get("key", { onlyIf: new Headers({ "if-match": '"open' }) }), {
    message: "Unclosed double quote for Etag",
  });
});

test("a put whose condition fails is null and changes nothing", async (env) => {
  const put = (value: string, onlyIf: unknown) => env.STORAGE.put("key", value, { onlyIf });
  assertEquals(await put("never", { etagMatches: "*" }), null);
  const first = await put("first", { etagDoesNotMatch: "*" });
  assertEquals(await put("never", { etagDoesNotMatch: "*" }), null);
  assertEquals(await put("never", { uploadedAfter: new Date(Date.now() + 60_000) }), null);
  assertEquals(await put("never", { uploadedBefore: new Date(0) }), null);
  assertEquals(await (await env.STORAGE.get("key")).text(), "first");
  assert(await put("second", { etagMatches: first.etag, secondsGranularity: true }) !== null, "stored");
  assertEquals(await (await env.STORAGE.get("key")).text(), "second");
});

test("an etag in quotes is a TypeError", async (env) => {
  const expected = { name: "TypeError", message: 'Conditional ETag should not be wrapped in quotes ("abc").' };
  await assertRejects(() => env.STORAGE.get("key", { onlyIf: { etagMatches: '"abc"' } }), expected);
  await assertRejects(() => env.STORAGE.put("key", "", { onlyIf: { etagDoesNotMatch: '"abc"' } }), expected);
  await assertRejects(() => env.STORAGE.put("key", "", { onlyIf: { uploadedBefore: "soon" } }), {
    name: "TypeError",
    message: "Incorrect type for the 'uploadedBefore' field on 'Conditional': the provided value is not of type 'date'.",
  });
});
