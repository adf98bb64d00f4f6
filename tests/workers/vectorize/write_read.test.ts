// Writing vectors and reading them back: contract sections 5.1, 5.2 and 5.4.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test("a vector comes back as float32, in a plain array", async (env) => {
  await env.VECTORIZE.insert([{ id: "1", values: [32.4, 74.1, 3.2], namespace: "n", metadata: { url: "/a", list: [1, null] } }]);
  await env.VECTORIZE.insert([{ id: "2", values: [0, -1, 0.5] }]);
  assertEquals(await env.VECTORIZE.getByIds(["2", "missing", "1", "2"]), [
    { id: "2", values: [0, -1, 0.5] },
    {
      id: "1",
      values: [32.400001525878906, 74.0999984741211, 3.200000047683716],
      metadata: { url: "/a", list: [1, null] },
      namespace: "n",
    },
  ]);
});

test("a write returns the id of its mutation, which describe tells at once", async (env) => {
  assertEquals(await env.VECTORIZE.describe(), {
    vectorCount: 0,
    dimensions: 0,
    processedUpToDatetime: null,
    processedUpToMutation: null,
  });
  const before = Date.now();
  const { mutationId, ...rest } = await env.VECTORIZE.upsert([{ id: "a", values: [1, 2] }]);
  assert(UUID.test(mutationId), mutationId);
  assertEquals(rest, {});
  const { processedUpToDatetime, ...described } = await env.VECTORIZE.describe();
  assertEquals(described, { vectorCount: 1, dimensions: 2, processedUpToMutation: mutationId });
  assert(new Date(processedUpToDatetime).getTime() >= before - 1 && /T.*Z$/.test(processedUpToDatetime), processedUpToDatetime);
  const deleted = await env.VECTORIZE.deleteByIds(["a", "missing"]);
  assert(UUID.test(deleted.mutationId) && deleted.mutationId !== mutationId, deleted.mutationId);
  assertEquals((await env.VECTORIZE.describe()).vectorCount, 0);
});

test("an insert skips what is there and an upsert replaces it whole", async (env) => {
  await env.VECTORIZE.insert([{ id: "a", values: [1, 0], metadata: { old: true }, namespace: "n" }]);
  await env.VECTORIZE.insert([{ id: "a", values: [0, 1] }, { id: "b", values: [0, 1] }]);
  assertEquals((await env.VECTORIZE.getByIds(["a"]))[0].values, [1, 0]);
  await env.VECTORIZE.upsert([{ id: "a", values: [0, 1], metadata: { new: 1 } }]);
  assertEquals(await env.VECTORIZE.getByIds(["a"]), [{ id: "a", values: [0, 1], metadata: { new: 1 } }]);
});

test("values may be typed arrays", async (env) => {
  await env.VECTORIZE.upsert([
    { id: "f32", values: new Float32Array([1, 2.5]) },
    { id: "f64", values: new Float64Array([1, 2.5]) },
    { id: "part", values: new Float32Array([9, 1, 2.5, 9]).subarray(1, 3) },
    { id: "i8", values: new Int8Array([1, -2]) },
  ]);
  const vectors = await env.VECTORIZE.getByIds(["f32", "f64", "part", "i8"]);
  assertEquals(vectors.map((vector: any) => vector.values), [[1, 2.5], [1, 2.5], [1, 2.5], [1, -2]]);
});

test("a thousand vectors are one write and one more is refused", async (env) => {
  const vectors = Array.from({ length: 1001 }, (_, n) => ({ id: `v${n}`, values: [n, 1], metadata: { n } }));
  await env.VECTORIZE.insert(vectors.slice(0, 1000));
  assertEquals((await env.VECTORIZE.describe()).vectorCount, 1000);
  assertEquals((await env.VECTORIZE.getByIds(["v999"]))[0].metadata, { n: 999 });
  await assertRejects(() => env.VECTORIZE.insert(vectors), {
    message: "VECTOR_INSERT_ERROR: too many vectors in payload; max vector count is 1000, got 1001",
    cause: "too many vectors in payload; max vector count is 1000, got 1001",
  });
});

test("errors have the frame of the operation and the text as their cause", async (env) => {
  await env.VECTORIZE.insert([{ id: "a", values: [1, 2] }]);
  const cases: [() => Promise<unknown>, string, string][] = [
    [
      () => env.VECTORIZE.insert([{ id: "b", values: [1, 2, 3] }]),
      "VECTOR_INSERT_ERROR (code = 40012)",
      'invalid vector for id="b", expected 2 dimensions, and got 3 dimensions',
    ],
    [
      () => env.VECTORIZE.upsert([{ id: "x".repeat(87), values: [1, 2] }]),
      "VECTOR_UPSERT_ERROR (code = 40008)",
      "id too long; max is 64 bytes, got 87 bytes",
    ],
    [
      () => env.VECTORIZE.query([1]),
      "VECTOR_QUERY_ERROR (code = 40006)",
      "invalid query vector, expected 2 dimensions, and got 1 dimensions",
    ],
    [
      () => env.VECTORIZE.getByIds(Array.from({ length: 34 }, String)),
      "VECTOR_GET_ERROR (code = 40007)",
      "too many ids in payload; max id count is 20, got 34",
    ],
    [
      () => env.VECTORIZE.deleteByIds(Array.from({ length: 105 }, String)),
      "VECTOR_DELETE_ERROR (code = 40007)",
      "too many ids in payload; max id count is 100, got 105",
    ],
    [
      () => env.VECTORIZE.upsert([{ id: 5, values: [1, 2] }]),
      "VECTOR_UPSERT_ERROR (code = 40023)",
      "failed to parse upsert vectors request: the id of vector 0 is not a string",
    ],
    [
      () => env.VECTORIZE.upsert([{ id: "b" }]),
      "VECTOR_UPSERT_ERROR (code = 40023)",
      'failed to parse upsert vectors request: the values of id="b" are not an array of numbers',
    ],
    [
      () => env.VECTORIZE.insert([null]),
      "VECTOR_INSERT_ERROR (code = 40023)",
      "failed to parse insert vectors request: vector 0 is not an object",
    ],
    [
      () => env.VECTORIZE.upsert([{ id: "b", values: [1, "2"] }]),
      "VECTOR_UPSERT_ERROR",
      'invalid vector for id="b": component 1 is not a finite number of 32 bits',
    ],
    [
      () => env.VECTORIZE.upsert([{ id: "b", values: [1, 1e39] }]),
      "VECTOR_UPSERT_ERROR",
      'invalid vector for id="b": component 1 is not a finite number of 32 bits',
    ],
    [
      () => env.VECTORIZE.upsert([{ id: "b", values: [1, 2], metadata: { "a.b": 1 } }]),
      "VECTOR_UPSERT_ERROR",
      'metadata of id="b" has the key "a.b"; a key must not be empty, start with $, or contain a dot or a double quote',
    ],
    [
      () => env.VECTORIZE.upsert([{ id: "b", values: [1, 2], metadata: { k: "x".repeat(10_240) } }]),
      "VECTOR_UPSERT_ERROR",
      'metadata of id="b" too large; max is 10240 bytes of JSON, got 10248 bytes',
    ],
    [() => env.VECTORIZE.upsert([]), "VECTOR_UPSERT_ERROR", "no vectors in payload; at least one is needed"],
    [
      () => env.VECTORIZE.upsert([{ id: "b", values: [1, 2], namespace: "" }]),
      "VECTOR_UPSERT_ERROR",
      "namespace is empty; leave it out for none",
    ],
  ];
  for (const [run, frame, text] of cases) {
    await assertRejects(run, { message: `${frame}: ${text}`, cause: text });
  }
  await assertRejects(() => env.VECTORIZE.insert({ id: "a" }), {
    name: "TypeError",
    message: "insert() takes an array of vectors",
  });
  assertEquals((await env.VECTORIZE.describe()).vectorCount, 1);
});

test("metadata members that are undefined are left out", async (env) => {
  await env.VECTORIZE.upsert([{ id: "a", values: [1], metadata: { k: undefined, l: 1 }, namespace: undefined }]);
  await env.VECTORIZE.upsert([{ id: "b", values: [1], metadata: undefined }]);
  assertEquals(await env.VECTORIZE.getByIds(["a", "b"]), [
    { id: "a", values: [1], metadata: { l: 1 } },
    { id: "b", values: [1] },
  ]);
});

test("fifty writes at once all happen", async (env) => {
  await Promise.all(Array.from({ length: 50 }, (_, n) => env.VECTORIZE.upsert([{ id: `v${n}`, values: [n, 1] }])));
  assertEquals((await env.VECTORIZE.describe()).vectorCount, 50);
});

test("the class cannot be constructed", async (env) => {
  let error;
  try {
    new env.VECTORIZE.constructor();
  } catch (thrown) {
    error = thrown;
  }
  assert(error instanceof TypeError && error.message === "Illegal constructor", String(error));
});
