// `env.AI.run` and what is beside it: contract sections 6.1 to 6.4. The models are scripts of `tests/it/scripted_ai.rs`.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const ECHO = "@cf/test/echo";

test("text generation has the shape of the contract", async (env) => {
  assertEquals(await env.AI.run(ECHO, { prompt: "one two" }), {
    response: "one two",
    usage: { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
  });
  const messages = [{ role: "system", content: "be brief" }, { role: "user", content: "hello ☃" }];
  const { response } = await env.AI.run(ECHO, { messages, max_tokens: 500, temperature: undefined, stream: false });
  assertEquals(response, "hello ☃");
});

test("tool calls have a name and arguments", async (env) => {
  const tools = [{ type: "function", function: { name: "weather", description: "d", parameters: { type: "object" } } }];
  assertEquals(await env.AI.run("@cf/test/tools", { prompt: "?", tools }), {
    response: "",
    tool_calls: [{ name: "weather", arguments: { city: "Wien" } }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  });
});

test("in JSON mode the response is a value", async (env) => {
  const response_format = { type: "json_schema", json_schema: { type: "object", required: ["a"] } };
  const { response } = await env.AI.run(ECHO, { prompt: '{"a":[1,"zwei"]}', response_format });
  assertEquals(response, { a: [1, "zwei"] });
  await assertRejects(() => env.AI.run(ECHO, { prompt: '{"b":1}', response_format }), {
    name: "JsonModeError",
    message: "5024: JSON Mode couldn't be met",
  });
  await assertRejects(() => env.AI.run(ECHO, { prompt: "{}", response_format: { type: "json_object" }, stream: true }), {
    name: "InvalidInput",
    message: "1001: response_format and stream are mutually exclusive",
  });
});

test("embeddings have a shape, data and a pooling", async (env) => {
  assertEquals(await env.AI.run("@cf/test/embed", { text: ["ab", "b"], pooling: "cls" }), {
    shape: [2, 3],
    data: [[2, 97, 0.1], [1, 98, 0.1]],
    pooling: "cls",
  });
  const { shape, data } = await env.AI.run("@cf/test/embed", { text: "abc" });
  assertEquals([shape, data], [[1, 3], [[3, 97, 0.1]]]);
});

test("errors have the names and the texts of Workers AI", async (env) => {
  const fails = (inputs: unknown, name: string, message: string, model = ECHO) =>
    assertRejects(() => env.AI.run(model, inputs), { name, message });
  await fails(
    { prompt: "a", messages: [{ role: "user", content: "b" }] },
    "InvalidInput",
    "1001: prompt and messages are mutually exclusive",
  );
  await fails({}, "IncompleteRequest", "3003: either prompt or messages is required");
  await fails({ prompt: "a" }, "NoSuchModel", "5007: No such model @cf/none or task", "@cf/none");
  await fails({ prompt: "a", lora: "b" }, "LoraUnsupported", "5005: LoRA adapters are not supported");
  await fails(undefined, "InvalidInput", "5004: the inputs must be an object");
  await fails("a", "InvalidInput", "5004: the inputs must be an object");
  const full = "3040: Capacity temporarily exceeded, please try again.";
  await fails({ prompt: "a" }, "OutOfCapacity", full, "@cf/test/full");
  await fails({ prompt: "a", stream: true }, "OutOfCapacity", full, "@cf/test/full");
  await fails({ prompt: "a" }, "InferenceUpstreamError", "the model broke", "@cf/test/broken");
});

test("an embedding model ranks nothing", async (env) => {
  await assertRejects(() => env.AI.run("@cf/test/embed", { query: "q", contexts: [{ text: "c" }] }), {
    name: "NoSuchModel",
    message: "5007: No such model @cf/test/embed or task",
  });
});

test("the fields of the last request tell how it went", async (env) => {
  assertEquals([env.AI.lastRequestId, env.AI.lastRequestHttpStatusCode], [null, null]);
  await env.AI.run(ECHO, { prompt: "a" });
  const first = env.AI.lastRequestId;
  assert(/^[0-9a-f]{32}$/.test(first), first);
  assertEquals([env.AI.lastRequestHttpStatusCode, env.AI.lastRequestInternalStatusCode], [200, null]);
  await assertRejects(() => env.AI.run("@cf/none", {}), { name: "NoSuchModel", message: /^5007: / });
  assertEquals([env.AI.lastRequestHttpStatusCode, env.AI.lastRequestInternalStatusCode], [400, 5007]);
  assert(env.AI.lastRequestId !== first);
  assertEquals(env.AI.aiGatewayLogId, null);
  assertThrows(() => (env.AI.lastRequestId = "mine"), { name: "TypeError", message: /only a getter/ });
});

test("a raw response is a Response, also for an error", async (env) => {
  const options = { returnRawResponse: true };
  const response = await env.AI.run(ECHO, { prompt: "a" }, options);
  assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
  assertEquals((await response.json()).response, "a");
  const stream = await env.AI.run(ECHO, { prompt: "a", stream: true }, options);
  assertEquals(stream.headers.get("content-type"), "text/event-stream");
  assert((await stream.text()).endsWith("data: [DONE]\n\n"));
  const failed = await env.AI.run("@cf/none", {}, options);
  assertEquals(failed.status, 400);
  assertEquals(await failed.json(), {
    internalCode: 5007,
    name: "NoSuchModel",
    message: "5007: No such model @cf/none or task",
    description: "No such model @cf/none or task",
  });
});

test("models are listed with their tasks", async (env) => {
  const models = await env.AI.models();
  assertEquals(models.length, 8);
  const { task, source, properties } = models.find((model: any) => model.name === ECHO);
  assertEquals([task.id, task.name, source], ["text-generation", "Text Generation", 1]);
  assertEquals(properties[0], { property_id: "state", value: "present" });
  assertEquals(models.find((model: any) => model.name === "@cf/test/slow").description, "get it");
  const names = async (params: unknown) => (await env.AI.models(params)).map((model: any) => model.name);
  assertEquals(await names({ task: "Text Embeddings" }), ["@cf/test/embed"]);
  assertEquals(await names({ search: "ECHO" }), [ECHO]);
  assertEquals(await names({ author: "nobody" }), []);
  assertEquals(await names({ per_page: 2, page: 2 }), ["@cf/test/embed", "@cf/test/endless"]);
});

test("what only Cloudflare's network has is a clear error", async (env) => {
  const name = "AiInternalError";
  assertThrows(() => env.AI.gateway("g"), { name, message: /^env.AI.gateway\(\) is not supported here: / });
  assertThrows(() => env.AI.autorag("a"), { name, message: /^env.AI.autorag\(\) is not supported here: / });
  await assertRejects(() => env.AI.toMarkdown([]), { name, message: /^env.AI.toMarkdown\(\) is not supported here: / });
  for (const option of ["gateway", "websocket", "queueRequest"]) {
    await assertRejects(() => env.AI.run(ECHO, { prompt: "a" }, { [option]: { id: "g" } }), {
      name,
      message: new RegExp(`^the option \`${option}\` is not supported here: `),
    });
  }
  assertEquals((await env.AI.run(ECHO, { prompt: "a" }, { tags: ["t"], extraHeaders: {} })).response, "a");
});

test("streams as inputs are refused in the words of the contract", async (env) => {
  const name = "AiInternalError";
  const stream = () => new ReadableStream();
  await assertRejects(() => env.AI.run(ECHO, { audio: stream() }), {
    name,
    message: "Content-Type is required with ReadableStream inputs",
  });
  await assertRejects(() => env.AI.run(ECHO, { a: stream(), b: { body: stream(), contentType: "audio/wav" } }), {
    name,
    message: "Multiple ReadableStreams are not supported. Found streams in keys: [a, b]",
  });
  await assertRejects(() => env.AI.run(ECHO, { audio: { body: stream(), contentType: "audio/wav" } }), {
    name,
    message: "the input `audio` is a stream: no model of this runtime takes one",
  });
});

test("a signal that has fired already is an AbortError at once", async (env) => {
  const signal = AbortSignal.abort();
  await assertRejects(() => env.AI.run(ECHO, { prompt: "a" }, { signal }), {
    name: "AbortError",
    message: "The signal has been aborted",
  });
  const reason = new RangeError("mine");
  const mine = AbortSignal.abort(reason);
  await assertRejects(() => env.AI.run("@cf/none", {}, { signal: mine }), { name: "RangeError", message: "mine" });
  await assertRejects(() => env.AI.run(ECHO, { prompt: "a" }, { signal: {} }), {
    name: "TypeError",
    message: "the option `signal` is not an AbortSignal",
  });
});

test("a signal ends a call that goes on", async (env) => {
  const controller = new AbortController();
  const answer = assertRejects(() => env.AI.run("@cf/test/silent", { prompt: "a" }, { signal: controller.signal }), {
    name: "AbortError",
    message: "The signal has been aborted",
  });
  setTimeout(() => controller.abort(), 0);
  await answer;
});

test("the binding tells its class", (env) => {
  assertEquals(Object.prototype.toString.call(env.AI), "[object Ai]");
  assertThrows(() => new env.AI.constructor(0), { name: "TypeError", message: "Illegal constructor" });
});
