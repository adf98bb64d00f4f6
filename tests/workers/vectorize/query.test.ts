// Searching: contract sections 5.1, 5.3 and 5.4, and what recipe 5 and the SDK do (aerostack contract 1.6).

import { assert, assertEquals, assertRejects, type Env, test } from "../testing.ts";

const ids = (result: any) => result.matches.map((match: any) => match.id);

// The vectors of Cloudflare's page on metadata filtering.
async function insertProducts(env: Env) {
  const products: [number[], string, string][] = [
    [[32.4, 74.1, 3.2], "13913913", "netflix"],
    [[15.1, 19.2, 15.8], "10148191", "hbo"],
    [[0.16, 1.2, 3.8], "97913813", "amazon"],
    [[75.1, 67.1, 29.9], "418313", "netflix"],
    [[58.8, 6.7, 3.4], "55519183", "hbo"],
  ];
  await env.VECTORIZE.upsert(products.map(([values, sku, platform], place) => ({
    id: String(place + 1),
    values,
    metadata: { url: `/products/sku/${sku}`, streaming_platform: platform },
  })));
}

test("the example of the documentation has its results", async (env) => {
  await insertProducts(env);
  const options = { topK: 3, returnValues: true, returnMetadata: "all" };
  const { count, matches } = await env.VECTORIZE.query([54.8, 5.5, 3.1], options);
  assertEquals([count, matches.length], [3, 3]);
  const near = (actual: number, expected: number) => assert(Math.abs(actual - expected) < 1e-6, `${actual} for ${expected}`);
  [0.999909486, 0.789848214, 0.611976262].forEach((score, place) => near(matches[place].score, score));
  assertEquals(matches.map(({ score, ...match }: any) => match), [
    {
      id: "5",
      values: [58.79999923706055, 6.699999809265137, 3.4000000953674316],
      metadata: { url: "/products/sku/55519183", streaming_platform: "hbo" },
    },
    {
      id: "4",
      values: [75.0999984741211, 67.0999984741211, 29.899999618530273],
      metadata: { url: "/products/sku/418313", streaming_platform: "netflix" },
    },
    {
      id: "2",
      values: [15.100000381469727, 19.200000762939453, 15.800000190734863],
      metadata: { url: "/products/sku/10148191", streaming_platform: "hbo" },
    },
  ]);
  const filtered = await env.VECTORIZE.query([54.8, 5.5, 3.1], { ...options, filter: { streaming_platform: "netflix" } });
  assertEquals([filtered.count, ids(filtered)], [2, ["4", "1"]]);
  near(filtered.matches[1].score, 0.491185264);
});

test("ingest, then query, as the RAG recipe does it", async (env) => {
  const embed = (text: string) => Array.from({ length: 768 }, (_, n) => Math.sin(n * text.length));
  const chunks = ["a short text", "another one that is longer", "the last"];
  for (let i = 0; i < chunks.length; i++) {
    const metadata = { docId: "doc", title: "Title", chunkIndex: i, content: chunks[i] };
    await env.VECTORIZE.upsert([{ id: `${crypto.randomUUID()}-chunk-${i}`, values: embed(chunks[i]), metadata }]);
  }
  const { matches } = await env.VECTORIZE.query(embed(chunks[1]), { topK: 2, returnMetadata: "all" });
  assertEquals(matches.length, 2);
  assertEquals(matches[0].metadata, { docId: "doc", title: "Title", chunkIndex: 1, content: chunks[1] });
  assert(matches[0].score > 0.999 && matches[0].score <= 1, String(matches[0].score));
});

test("a match has only what was asked for", async (env) => {
  await env.VECTORIZE.insert([{ id: "a", values: [1, 0], namespace: "n", metadata: { text: "x".repeat(100), n: 1, l: [1] } }]);
  const keys = async (options?: object) => Object.keys((await env.VECTORIZE.query([1, 0], options)).matches[0]);
  assertEquals(await keys(), ["id", "score", "namespace"]);
  assertEquals(await keys({ returnMetadata: false, returnValues: false }), ["id", "score", "namespace"]);
  assertEquals(await keys({ returnMetadata: "none" }), ["id", "score", "namespace"]);
  assertEquals(await keys({ returnMetadata: true }), ["id", "score", "metadata", "namespace"]);
  assertEquals(await keys({ returnValues: true }), ["id", "score", "values", "namespace"]);
  const indexed = await env.VECTORIZE.query([1, 0], { returnMetadata: "indexed" });
  assertEquals(indexed.matches[0].metadata, { text: "x".repeat(64), n: 1 });
});

test("an unknown returnMetadata is refused", async (env) => {
  for (const got of ["some", 1, {}]) {
    await assertRejects(() => env.VECTORIZE.query([1], { returnMetadata: got }), {
      message: `Invalid returnMetadata option. Expected: true, false, "none", "indexed" or "all"; got: ${got}`,
    });
    await assertRejects(() => env.VECTORIZE.queryById("a", { returnMetadata: got }), { message: /^Invalid returnMetadata/ });
  }
});

test("topK is 5, at most 100, and at most 50 with values or metadata", async (env) => {
  await env.VECTORIZE.insert(Array.from({ length: 200 }, (_, n) => ({ id: `v${n}`, values: [n, 100] })));
  const count = async (options?: object) => (await env.VECTORIZE.query([1, 1], options)).count;
  assertEquals(await count(), 5);
  assertEquals(await count({ topK: 100 }), 100);
  assertEquals(await count({ topK: 100, returnMetadata: "indexed" }), 100);
  assertEquals(await count({ topK: 50, returnValues: true, returnMetadata: true }), 50);
  const text = "with returnValues=true or returnMetadata=all, max top K is 50, but got 100; for a top K up to 100, retry with " +
    "returnValues=false and returnMetadata=indexed";
  for (const options of [{ topK: 100, returnValues: true }, { topK: 100, returnMetadata: true }]) {
    await assertRejects(() => count(options), { message: `VECTOR_QUERY_ERROR (code = 40025): ${text}`, cause: text });
  }
  await assertRejects(() => count({ topK: 101 }), { message: "VECTOR_QUERY_ERROR (code = 40025): max top K is 100, but got 101" });
  for (const topK of [0, -1, 1.5, "many"]) {
    await assertRejects(() => count({ topK }), { message: /^VECTOR_QUERY_ERROR \(code = 40025\): top K must be a whole number/ });
  }
});

test("a query vector may be a typed array", async (env) => {
  await env.VECTORIZE.insert([{ id: "a", values: [1, 0] }, { id: "b", values: [0, 1] }]);
  for (const vector of [[0, 1], new Float32Array([0, 1]), new Float64Array([0, 1])]) {
    assertEquals(ids(await env.VECTORIZE.query(vector)), ["b", "a"]);
  }
  await assertRejects(() => env.VECTORIZE.query("[0,1]"), {
    message: "VECTOR_QUERY_ERROR (code = 40026): failed to parse query request: the vector is not an array of numbers",
  });
  await assertRejects(() => env.VECTORIZE.query([0, undefined]), {
    message: "VECTOR_QUERY_ERROR: invalid query vector: component 1 is not a finite number of 32 bits",
  });
});

test("queryById finds what is near to a stored vector, itself included", async (env) => {
  await insertProducts(env);
  const found = await env.VECTORIZE.queryById("5", { topK: 2, returnMetadata: true });
  assertEquals(ids(found), ["5", "4"]);
  assert(found.matches[0].score > 0.9999, String(found.matches[0].score));
  assertEquals(found.matches[0].metadata.streaming_platform, "hbo");
  await assertRejects(() => env.VECTORIZE.queryById("missing"), {
    message: 'VECTOR_QUERY_ERROR: no vector with id="missing"',
    cause: 'no vector with id="missing"',
  });
});

test("a namespace is searched by itself, and without one everything is", async (env) => {
  await env.VECTORIZE.insert([
    { id: "a", values: [1, 0], namespace: "one" },
    { id: "b", values: [1, 0], namespace: "two" },
    { id: "c", values: [1, 0] },
  ]);
  assertEquals((await env.VECTORIZE.query([1, 0])).count, 3);
  assertEquals((await env.VECTORIZE.query([1, 0], { namespace: "two" })).matches, [{ id: "b", score: 1, namespace: "two" }]);
  assertEquals(await env.VECTORIZE.query([1, 0], { namespace: "three" }), { count: 0, matches: [] });
});

test("all operators filter, before topK", async (env) => {
  await env.VECTORIZE.insert(Array.from({ length: 40 }, (_, n) => ({
    id: `v${n}`,
    values: [40 - n, n],
    metadata: { n, even: n % 2 === 0, name: `name ${String(n).padStart(2, "0")}`, deep: { er: n % 5 }, tags: [`t${n % 3}`, "all"] },
  })));
  const search = async (filter: object, topK = 3) => ids(await env.VECTORIZE.query([1, 0], { topK, filter }));
  assertEquals(await search({ n: 7 }), ["v7"]);
  assertEquals(await search({ n: { $eq: 7 } }), ["v7"]);
  assertEquals(await search({ even: { $ne: true } }), ["v1", "v3", "v5"]);
  assertEquals(await search({ n: { $in: [30, 20, 99] } }), ["v20", "v30"]);
  assertEquals(await search({ n: { $nin: [0, 1, 3] } }), ["v2", "v4", "v5"]);
  assertEquals(await search({ n: { $lt: 2 } }), ["v0", "v1"]);
  assertEquals(await search({ n: { $lte: 2 } }), ["v0", "v1", "v2"]);
  assertEquals(await search({ n: { $gt: 36 } }), ["v37", "v38", "v39"]);
  assertEquals(await search({ n: { $gte: 10, $lt: 12 } }), ["v10", "v11"]);
  assertEquals(await search({ name: { $gte: "name 1", $lt: "name 2" } }), ["v10", "v11", "v12"]);
  assertEquals(await search({ "deep.er": 3, even: true }), ["v8", "v18", "v28"]);
  assertEquals(await search({ tags: "t2" }), ["v2", "v5", "v8"]);
  assertEquals(await search({ missing: null }, 1), ["v0"]);
  assertEquals(await search({ n: "7" }), []);
});

test("a filter of undefined members is empty, and what is no filter is refused", async (env) => {
  await env.VECTORIZE.insert([{ id: "a", values: [1] }]);
  for (
    const [filter, text] of [
      [{ k: undefined }, "invalid filter: it must not be empty; leave it out to search everything"],
      [[1], "invalid filter: it must be an object"],
      ["k", "invalid filter: it must be an object"],
      [() => 1, "invalid filter: it must be an object"],
      [{ k: { $eq: 1, $gt: 0 } }, 'invalid filter: $eq of "k" cannot be combined with another operator; only a lower and an upper bound can'],
      [{ k: "x".repeat(2048) }, "invalid filter: its JSON must be shorter than 2048 bytes, got 2056"],
    ] as [unknown, string][]
  ) {
    await assertRejects(() => env.VECTORIZE.query([1], { filter }), { message: `VECTOR_QUERY_ERROR: ${text}`, cause: text });
  }
  assertEquals((await env.VECTORIZE.query([1], { filter: undefined, namespace: undefined, topK: undefined })).count, 1);
  assertEquals((await env.VECTORIZE.query([1], { filter: null })).count, 1);
});

test("a user who changes the prototypes changes no result", async (env) => {
  await env.VECTORIZE.insert([{ id: "a", values: [1, 2], metadata: { k: 1 } }]);
  const iterator = Array.prototype[Symbol.iterator];
  Object.defineProperty(Object.prototype, "values", { configurable: true, set() { throw new Error("not mine"); } });
  Array.prototype[Symbol.iterator] = () => { throw new Error("not mine"); };
  let found, vectors;
  try {
    found = await env.VECTORIZE.query([1, 2], { returnValues: true, filter: { k: 1 } });
    vectors = await env.VECTORIZE.getByIds(["a"]);
  } finally {
    delete (Object.prototype as any).values;
    Array.prototype[Symbol.iterator] = iterator;
  }
  assertEquals([found.matches[0].values, vectors[0].values], [[1, 2], [1, 2]]);
});
