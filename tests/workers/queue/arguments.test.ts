// Arguments that are missing or of another type, in the words of workerd.

import { assertEquals, assertRejects, test } from "../testing.ts";

const parameter = (method: string, place: number, type: string) =>
  `Failed to execute '${method}' on 'WorkerQueue': parameter ${place} is not of type '${type}'.`;

test("arguments that are missing or hold no members are a TypeError, and send nothing", async (env) => {
  const { QUEUE } = env;
  const refuses = (call: () => Promise<unknown>, message: string) => assertRejects(call, { name: "TypeError", message });
  await refuses(() => QUEUE.send(), parameter("send", 1, "JsValue"));
  await refuses(() => QUEUE.sendBatch(), parameter("sendBatch", 1, "Sequence"));
  for (const options of [1, "x", "", true, Symbol("options"), 1n]) {
    await refuses(() => QUEUE.send("message", options), parameter("send", 2, "SendOptions"));
    await refuses(() => QUEUE.sendBatch([{ body: 1 }], options), parameter("sendBatch", 2, "SendBatchOptions"));
  }
  const range = "Value out of range. Must be between -2147483648 and 2147483647 (inclusive).";
  await refuses(() => QUEUE.send("message", { delaySeconds: 2 ** 31 }), range);
  await refuses(() => QUEUE.send("message", { delaySeconds: 1n }), "Cannot convert a BigInt value to a number");
  assertEquals((await QUEUE.metrics()).backlogCount, 0);
  for (const options of [undefined, null, {}, () => {}]) await QUEUE.send("message", options);
  assertEquals((await QUEUE.metrics()).backlogCount, 4);
});
