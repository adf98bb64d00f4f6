// Outbound fetch, against the worker in origin.ts.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

test("a GET brings back status, headers and body", async (env) => {
  const response = await fetch(`${env.ORIGIN}/echo/a?b=c`, { headers: { "X-Mine": "1" } });
  assertEquals([response.status, response.ok, response.url, response.redirected], [200, true, `${env.ORIGIN}/echo/a?b=c`, false]);
  assertEquals(response.headers.get("content-type"), "application/json");
  const seen: any = await response.json();
  assertEquals([seen.method, seen.path, seen.headers["x-mine"], seen.body], ["GET", "/echo/a?b=c", "1", ""]);
});

test("no headers of a browser are added", async (env) => {
  const seen: any = await (await fetch(`${env.ORIGIN}/echo/`)).json();
  for (const name of ["accept-language", "sec-fetch-mode", "origin", "referer"]) assertEquals(seen.headers[name], undefined, name);
  assert(!/deno/i.test(JSON.stringify(seen.headers)), JSON.stringify(seen.headers));
});

test("a status of an error is no exception", async (env) => {
  const response = await fetch(`${env.ORIGIN}/nothing`);
  assertEquals([response.status, response.ok, await response.text()], [404, false, "nothing here"]);
});

test("a POST sends its body and type", async (env) => {
  const seen: any = await (await fetch(`${env.ORIGIN}/echo/`, { method: "POST", body: '{"a":"ä"}', headers: { "content-type": "application/json" } })).json();
  assertEquals([seen.method, seen.body, seen.headers["content-type"], seen.headers["content-length"]], ["POST", '{"a":"ä"}', "application/json", "10"]);
});

test("a Request can be fetched, also with other options", async (env) => {
  const request = new Request(`${env.ORIGIN}/echo/`, { method: "PUT", body: "text", headers: { "x-a": "1" } });
  const seen: any = await (await fetch(request, { headers: { "x-b": "2" } })).json();
  assertEquals([seen.method, seen.body, seen.headers["x-a"], seen.headers["x-b"]], ["PUT", "text", undefined, "2"]);
});

test("a body of bytes, of a form, of a stream and of nothing", async (env) => {
  const length = async (body: any) => Number(await (await fetch(`${env.ORIGIN}/length`, { method: "POST", body })).text());
  assertEquals(await length(new Uint8Array(100_000)), 100_000);
  assertEquals(await length(new URLSearchParams({ a: "1" })), 3);
  assertEquals(await length(null), 0);
  let left = 50;
  const stream = new ReadableStream({
    pull: (controller) => left-- === 0 ? controller.close() : controller.enqueue(new Uint8Array(1000)),
  });
  assertEquals(await length(stream), 50_000);
});

test("a form is received as a form", async (env) => {
  const body = new FormData();
  body.append("a", "ä");
  body.append("f", new File(["in the file"], "f.txt", { type: "text/plain" }));
  const entries = await (await fetch(`${env.ORIGIN}/form`, { method: "POST", body })).json();
  assertEquals(entries, [["a", "ä"], ["f", "f.txt", "text/plain", "in the file"]]);
});

test("redirects are followed and the last URL is told", async (env) => {
  const response = await fetch(`${env.ORIGIN}/redirect/302`);
  assertEquals([response.status, response.redirected, response.url], [200, true, `${env.ORIGIN}/echo/redirected`]);
});

test("a POST becomes a GET after 302 and stays one after 307", async (env) => {
  const send = async (status: number) =>
    await (await fetch(`${env.ORIGIN}/redirect/${status}`, { method: "POST", body: "text" })).json() as any;
  const [found, temporary] = [await send(302), await send(307)];
  assertEquals([found.method, found.body], ["GET", ""]);
  assertEquals([temporary.method, temporary.body], ["POST", "text"]);
});

test("redirect manual returns the redirect with its location", async (env) => {
  const response = await fetch(`${env.ORIGIN}/redirect/302`, { redirect: "manual" });
  assertEquals([response.status, response.headers.get("location"), await response.text()], [302, "/echo/redirected", "moved"]);
});

test("redirect error and an endless loop are TypeErrors", async (env) => {
  await assertRejects(() => fetch(`${env.ORIGIN}/redirect/302`, { redirect: "error" }), { name: "TypeError", message: /redirect/i });
  await assertRejects(() => fetch(`${env.ORIGIN}/loop`), { name: "TypeError", message: /redirect/i });
});

test("a fetch is aborted before it starts and while it waits", async (env) => {
  await assertRejects(() => fetch(`${env.ORIGIN}/echo/`, { signal: AbortSignal.abort() }), { name: "AbortError", message: /.+/ });
  const controller = new AbortController();
  const waiting = fetch(`${env.ORIGIN}/never`, { signal: controller.signal });
  setTimeout(() => controller.abort(new RangeError("mine")), 5);
  await assertRejects(() => waiting, { name: "RangeError", message: "mine" });
  await assertRejects(() => fetch(`${env.ORIGIN}/never`, { signal: AbortSignal.timeout(5) }), { name: "TimeoutError", message: /.+/ });
});

test("a body is aborted while it streams", async (env) => {
  const controller = new AbortController();
  const response = await fetch(`${env.ORIGIN}/slow`, { signal: controller.signal });
  const reader = response.body!.getReader();
  await reader.read();
  controller.abort();
  await assertRejects(async () => { for (;;) if ((await reader.read()).done) return; }, { name: "AbortError", message: /.+/ });
});

test("a body streams as it arrives and can be left", async (env) => {
  const response = await fetch(`${env.ORIGIN}/slow`);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await reader.read()).value?.startsWith("chunk 1\n"), true);
  await reader.cancel();
});

test("gzip is decoded", async (env) => {
  const response = await fetch(`${env.ORIGIN}/gzip`);
  assertEquals(await response.text(), "hello ".repeat(1000));
});

test("a megabyte arrives whole", async (env) => {
  const bytes = await (await fetch(`${env.ORIGIN}/bytes/1000000`)).bytes();
  assertEquals([bytes.length, bytes[0], bytes.at(-1)], [1_000_000, 7, 7]);
});

test("set-cookie headers of an answer stay apart", async (env) => {
  assertEquals((await fetch(`${env.ORIGIN}/cookies`)).headers.getSetCookie(), ["a=1", "b=2"]);
});

test("a HEAD has headers and no body", async (env) => {
  const response = await fetch(`${env.ORIGIN}/bytes/500`, { method: "HEAD" });
  assertEquals([response.status, response.headers.get("content-length"), (await response.bytes()).length], [200, "500", 0]);
});

test("fifty fetches at once all come back", async (env) => {
  const answers = await Promise.all(Array.from({ length: 50 }, async (_, n) => (await (await fetch(`${env.ORIGIN}/echo/${n}`)).json() as any).path));
  assertEquals(answers, Array.from({ length: 50 }, (_, n) => `/echo/${n}`));
});

test("a refused connection and a name that is none are TypeErrors with a cause", async (env) => {
  const refused = await assertRejects(() => fetch(env.CLOSED), { name: "TypeError", message: /.+/ });
  assert(/refused/i.test(`${refused.message} ${refused.cause?.message}`), `${refused.message} ${refused.cause?.message}`);
  const unknown = await assertRejects(() => fetch("http://name.invalid/"), { name: "TypeError", message: /.+/ });
  assert(/dns|lookup|resolve/i.test(`${unknown.message} ${unknown.cause?.message}`), `${unknown.message} ${unknown.cause?.message}`);
});

test("a body that breaks off is a TypeError", async (env) => {
  await assertRejects(async () => await (await fetch(`${env.ORIGIN}/broken`)).text(), { name: "TypeError", message: /.+/ });
});

test("URLs that cannot be fetched are TypeErrors", async () => {
  await assertRejects(() => fetch("/relative"), { name: "TypeError", message: /.+/ });
  await assertRejects(() => fetch("file:///etc/passwd"), { name: "TypeError", message: /.+/ });
  await assertRejects(() => fetch("ftp://example.com/"), { name: "TypeError", message: /.+/ });
});

test("data and blob URLs are fetched without a network", async () => {
  assertEquals(await (await fetch("data:text/plain;base64,aGVsbG8=")).text(), "hello");
  assertEquals(await (await fetch("data:,a%20b")).text(), "a b");
});

test("an answer can be passed on as the worker's own", async (env) => {
  const response = await fetch(`${env.ORIGIN}/echo/?status=418`);
  const copy = new Response(response.body, response);
  copy.headers.set("x-added", "1");
  assertEquals([copy.status, copy.headers.get("x-added"), (await copy.json() as any).method], [418, "1", "GET"]);
});
