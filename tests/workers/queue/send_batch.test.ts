// Several messages at once, all of them or none: contract section 3.1.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

test("sendBatch resolves to the metrics of the queue, the messages included", async (env) => {
  const sent = await env.QUEUE.sendBatch([{ body: 1 }, { body: "x", contentType: "text" }]);
  const { oldestMessageTimestamp, ...counts } = sent.metadata.metrics;
  assertEquals(counts, { backlogCount: 2, backlogBytes: 2 });
  assert(oldestMessageTimestamp instanceof Date, "a Date");
});

test("sendBatch takes everything that can be iterated", async (env) => {
  await env.QUEUE.sendBatch(new Set([{ body: 1 }, { body: 2 }]));
  await env.QUEUE.sendBatch(new Map([["k", { body: 3 }]]).values());
  await env.QUEUE.sendBatch((function* () {
    for (let body = 0; body < 50; body++) yield { body };
  })());
  assertEquals((await env.QUEUE.metrics()).backlogCount, 53);
});

test("sendBatch refuses what is no iterable of messages", async (env) => {
  for (const messages of [undefined, null, 5, "text", {}, { body: 1 }, { length: 1, 0: { body: 1 } }]) {
    await assertRejects(() => env.QUEUE.sendBatch(messages), {
      name: "TypeError",
      message: "Failed to execute 'sendBatch' on 'WorkerQueue': parameter 1 is not of type 'Sequence'.",
    });
  }
  for (const messages of [[1], [null], [undefined], [{ body: 1 }, "body"]]) {
    await assertRejects(() => env.QUEUE.sendBatch(messages), {
      name: "TypeError",
      message: "Incorrect type: the provided value is not of type 'MessageSendRequest'.",
    });
  }
  assertEquals((await env.QUEUE.metrics()).backlogCount, 0);
});

test("sendBatch of nothing is refused", async (env) => {
  for (const messages of [[], new Set()]) {
    await assertRejects(() => env.QUEUE.sendBatch(messages), {
      name: "TypeError",
      message: "sendBatch() requires at least one message",
    });
  }
});

test("an iterable that throws sends nothing, and its error comes through", async (env) => {
  const thrown = new Error("mine");
  const messages = (function* () {
    yield { body: 1 };
    throw thrown;
  })();
  assert(await assertRejects(() => env.QUEUE.sendBatch(messages), { message: "mine" }) === thrown);
  assertEquals((await env.QUEUE.metrics()).backlogCount, 0);
});

test("a batch has at most 100 messages", async (env) => {
  const messages = (count: number) => Array.from({ length: count }, (_, body) => ({ body }));
  await env.QUEUE.sendBatch(messages(100));
  await assertRejects(() => env.QUEUE.sendBatch(messages(101)), {
    message: "Queue sendBatch failed: batch message count of 101 exceeds limit of 100",
  });
  assertEquals((await env.QUEUE.metrics()).backlogCount, 100);
});

test("a message of a batch has 128000 bytes at most", async (env) => {
  const text = (length: number) => ({ body: "x".repeat(length), contentType: "text" });
  await env.QUEUE.sendBatch([text(128_000), text(1)]);
  await assertRejects(() => env.QUEUE.sendBatch([text(1), text(128_001)]), {
    message:
      "Queue sendBatch failed: message in batch has length 128001 bytes which exceeds single message size limit of 128000",
  });
  assertEquals((await env.QUEUE.metrics()).backlogCount, 2);
});

test("a batch has 288000 bytes at most", async (env) => {
  const text = (length: number) => ({ body: "x".repeat(length), contentType: "text" });
  await env.QUEUE.sendBatch([text(128_000), text(128_000), text(32_000)]);
  await assertRejects(() => env.QUEUE.sendBatch([text(128_000), text(128_000), text(32_001)]), {
    message: "Queue sendBatch failed: batch size of 288001 bytes exceeds limit of 288000",
  });
  assertEquals((await env.QUEUE.metrics()).backlogCount, 3);
});

test("one message that is refused keeps its whole batch from being sent", async (env) => {
  const good = { body: 1 };
  for (const bad of [{ body: undefined }, {}, { body: 1, contentType: "xml" }, { body: 1, contentType: "text" }]) {
    await assertRejects(() => env.QUEUE.sendBatch([good, bad, good]), { name: "TypeError", message: /./ });
  }
  await assertRejects(() => env.QUEUE.sendBatch([good, { body: 1, delaySeconds: -1 }]), { message: /delay -1/ });
  assertEquals((await env.QUEUE.metrics()).backlogCount, 0);
});

test("every type of content can be in one batch", async (env) => {
  const bytes = new Uint8Array([1, 2, 3]);
  await env.QUEUE.sendBatch([
    { body: { a: 1 } },
    { body: { a: 1 }, contentType: "json" },
    { body: "text", contentType: "text" },
    { body: bytes, contentType: "bytes" },
    { body: new Map(), contentType: "v8" },
  ]);
  assertEquals((await env.QUEUE.metrics()).backlogCount, 5);
  // They are copied: a batch may hold several views of one buffer.
  assertEquals(bytes, new Uint8Array([1, 2, 3]));
});
