// `stream: true`: contract section 6.3.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("a stream is server-sent events, with the usage before the end", async (env) => {
  const stream = await env.AI.run("@cf/test/echo", { prompt: "one\ntwo three", stream: true });
  assert(stream instanceof ReadableStream);
  assertEquals(
    await new Response(stream).text(),
    'data: {"response":"one\\ntwo "}\n\n' +
      'data: {"response":"three"}\n\n' +
      'data: {"response":"","usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}\n\n' +
      "data: [DONE]\n\n",
  );
});

test("tool calls come in the stream", async (env) => {
  const tools = [{ name: "weather", description: "d", parameters: {} }];
  const stream = await env.AI.run("@cf/test/tools", { prompt: "?", tools, stream: true });
  const text = await new Response(stream).text();
  assert(text.startsWith('data: {"response":"","tool_calls":[{"name":"weather","arguments":{"city":"Wien"}}]}\n\n'), text);
});

test("each read gives what is there and no more", async (env) => {
  const stream = await env.AI.run("@cf/test/slow", { prompt: "a", stream: true });
  const reader = stream.getReader();
  assertEquals(decode((await reader.read()).value), 'data: {"response":"one"}\n\n');
  await reader.cancel();
});

test("a reader of few bytes at a time gets them all", async (env) => {
  const stream = await env.AI.run("@cf/test/echo", { prompt: "one", stream: true });
  const reader = stream.getReader({ mode: "byob" });
  let text = "";
  for (let read; !(read = await reader.read(new Uint8Array(3))).done;) text += decode(read.value);
  assert(text.startsWith('data: {"response":"one"}\n\n') && text.endsWith("data: [DONE]\n\n"), text);
});

test("a failure in the middle is the stream's error", async (env) => {
  const stream = await env.AI.run("@cf/test/broken", { prompt: "a", stream: true });
  const reader = stream.getReader();
  assertEquals(decode((await reader.read()).value), 'data: {"response":"one"}\n\n');
  await assertRejects(() => reader.read(), { message: "the model broke" });
});

test("a signal ends a stream with its reason", async (env) => {
  const controller = new AbortController();
  const stream = await env.AI.run("@cf/test/slow", { prompt: "a", stream: true }, { signal: controller.signal });
  const reader = stream.getReader();
  await reader.read();
  const next = assertRejects(() => reader.read(), { name: "AbortError", message: "The signal has been aborted" });
  controller.abort();
  await next;
});

test("a stream can be teed and piped", async (env) => {
  const stream = await env.AI.run("@cf/test/echo", { prompt: "one", stream: true });
  const [one, two] = stream.pipeThrough(new TransformStream()).tee();
  const texts = await Promise.all([new Response(one).text(), new Response(two).text()]);
  assertEquals(texts[0], texts[1]);
});
