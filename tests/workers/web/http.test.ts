// Headers, Request, Response, FormData, Blob and File.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

test("headers are case-insensitive, combined and sorted", () => {
  const headers = new Headers([["B", "2"], ["a", "1"]]);
  headers.append("A", "3");
  assertEquals([headers.get("a"), headers.has("B"), headers.get("x")], ["1, 3", true, null]);
  assertEquals([...headers], [["a", "1, 3"], ["b", "2"]]);
  headers.set("a", " trimmed \t");
  headers.delete("b");
  assertEquals([...headers.entries()], [["a", "trimmed"]]);
});

test("set-cookie headers stay apart", () => {
  const headers = new Headers();
  headers.append("Set-Cookie", "a=1; Path=/");
  headers.append("Set-Cookie", "b=2");
  assertEquals(headers.getSetCookie(), ["a=1; Path=/", "b=2"]);
  assertEquals([...headers], [["set-cookie", "a=1; Path=/"], ["set-cookie", "b=2"]]);
});

test("headers that HTTP does not allow are refused", () => {
  assertThrows(() => new Headers({ "a b": "c" }), { name: "TypeError", message: /.+/ });
  assertThrows(() => new Headers({ a: "b\nc" }), { name: "TypeError", message: /.+/ });
});

test("a request has its parts and can be made of another", async () => {
  const request = new Request("http://x/a?b", { method: "post", body: "text", headers: { "X-A": "1" } });
  assertEquals([request.method, request.url, request.headers.get("x-a")], ["POST", "http://x/a?b", "1"]);
  assertEquals(request.headers.get("content-type"), "text/plain;charset=UTF-8");
  const other = new Request(request, { headers: { "x-b": "2" } });
  assertEquals([other.method, other.headers.get("x-a"), other.headers.get("x-b")], ["POST", null, "2"]);
  assertEquals(await other.text(), "text");
});

test("a GET request has no body", () => {
  assertThrows(() => new Request("http://x", { body: "b" }), { name: "TypeError", message: /.+/ });
  assertEquals(new Request("http://x").body, null);
});

test("a clone of a request reads the same body", async () => {
  const request = new Request("http://x", { method: "POST", body: "text" });
  const clone = request.clone();
  assertEquals([await request.text(), await clone.text()], ["text", "text"]);
  assertEquals([request.bodyUsed, clone.bodyUsed], [true, true]);
  assertThrows(() => request.clone(), { name: "TypeError", message: /.+/ });
});

test("a body is read once", async () => {
  const response = new Response("text");
  assertEquals(response.bodyUsed, false);
  assertEquals(await response.text(), "text");
  assertEquals(response.bodyUsed, true);
  await assertRejects(() => response.text(), { name: "TypeError", message: /.+/ });
});

test("a body is read as text, json, bytes, buffer and blob", async () => {
  const make = () => new Response('{"a":"ä"}', { headers: { "content-type": "application/json" } });
  assertEquals(await make().json(), { a: "ä" });
  assertEquals((await make().arrayBuffer()).byteLength, 10);
  assertEquals((await make().bytes()).length, 10);
  const blob = await make().blob();
  assertEquals([blob.type, blob.size], ["application/json", 10]);
  await assertRejects(() => new Response("{").json(), { name: "SyntaxError", message: /JSON/ });
});

test("every kind of body sets its type", async () => {
  const type = (body: any) => new Response(body).headers.get("content-type");
  assertEquals(type("a"), "text/plain;charset=UTF-8");
  assertEquals(type(new URLSearchParams("a=1")), "application/x-www-form-urlencoded;charset=UTF-8");
  assertEquals(type(new Blob(["a"], { type: "image/png" })), "image/png");
  assertEquals(type(new Uint8Array(1)), null);
  assertEquals(type(new ReadableStream()), null);
  assertEquals(type(null), null);
  assert(/^multipart\/form-data; ?boundary=/.test(type(new FormData())!), String(type(new FormData())));
});

test("Response.json and Response.redirect and Response.error", async () => {
  const json = Response.json({ a: 1 }, { status: 201, headers: { "x-a": "b" } });
  assertEquals([json.status, json.headers.get("content-type"), json.headers.get("x-a")], [201, "application/json", "b"]);
  assertEquals(await json.json(), { a: 1 });
  const redirect = Response.redirect("http://x/a", 307);
  assertEquals([redirect.status, redirect.headers.get("location"), redirect.body], [307, "http://x/a", null]);
  assertThrows(() => Response.redirect("http://x", 200), { name: "RangeError", message: /.+/ });
  assertEquals([Response.error().type, Response.error().status], ["error", 0]);
  assertThrows(() => Response.json(undefined), { name: "TypeError", message: /.+/ });
});

test("statuses are checked", () => {
  assertEquals(new Response(null, { status: 204, statusText: "Nothing" }).statusText, "Nothing");
  assertEquals([new Response("x", { status: 404 }).ok, new Response("x").ok], [false, true]);
  assertThrows(() => new Response("x", { status: 99 }), { name: "RangeError", message: /.+/ });
  assertThrows(() => new Response("x", { status: 204 }), { name: "TypeError", message: /.+/ });
});

test("a clone of a response streams the same bytes", async () => {
  const stream = new ReadableStream({
    start(controller) {
      for (const chunk of ["a", "b", "c"]) controller.enqueue(new TextEncoder().encode(chunk));
      controller.close();
    },
  });
  const response = new Response(stream, { headers: { "x-a": "1" } });
  const clone = response.clone();
  assertEquals([await response.text(), await clone.text(), clone.headers.get("x-a")], ["abc", "abc", "1"]);
});

test("a form goes round through multipart", async () => {
  const form = new FormData();
  form.append("text", "ä\r\nb");
  form.append("näme", "1");
  form.append("file", new File([new Uint8Array([0, 255, 13, 10])], "f ü.bin", { type: "application/x-a" }));
  form.append("text", "second");
  const parsed = await new Response(form).formData();
  assertEquals([...parsed.keys()], ["text", "näme", "file", "text"]);
  assertEquals(parsed.getAll("text"), ["ä\r\nb", "second"]);
  const file = parsed.get("file") as File;
  assertEquals([file.name, file.type, [...await file.bytes()]], ["f ü.bin", "application/x-a", [0, 255, 13, 10]]);
});

test("a multipart body that a browser wrote is parsed", async () => {
  const body = [
    "------WebKitFormBoundaryX", 'Content-Disposition: form-data; name="a"', "", "1",
    "------WebKitFormBoundaryX", 'Content-Disposition: form-data; name="f"; filename="t.txt"', "Content-Type: text/plain", "",
    "line 1\r\nline 2", "------WebKitFormBoundaryX--", "",
  ].join("\r\n");
  const headers = { "content-type": "multipart/form-data; boundary=----WebKitFormBoundaryX" };
  const form = await new Request("http://x", { method: "POST", body, headers }).formData();
  const file = form.get("f") as File;
  assertEquals([form.get("a"), file.name, file.type, await file.text()], ["1", "t.txt", "text/plain", "line 1\r\nline 2"]);
});

test("a url-encoded form is parsed, and another body is no form", async () => {
  const form = await new Response(new URLSearchParams({ a: "1 2", b: "ä" })).formData();
  assertEquals([...form], [["a", "1 2"], ["b", "ä"]]);
  await assertRejects(() => new Response("text").formData(), { name: "TypeError", message: /.+/ });
  await assertRejects(() => new Response("x", { headers: { "content-type": "multipart/form-data; boundary=b" } }).formData(), {
    name: "TypeError",
    message: /.+/,
  });
});

test("FormData sets, deletes and counts", () => {
  const form = new FormData();
  form.append("a", "1");
  form.append("a", "2");
  form.set("a", "3");
  form.append("b", new Blob(["x"]), "name.txt");
  assertEquals([form.getAll("a"), form.has("b"), (form.get("b") as File).name], [["3"], true, "name.txt"]);
  form.delete("a");
  assertEquals(form.get("a"), null);
});

test("blobs are joined, cut and read", async () => {
  const blob = new Blob(["ab", new Uint8Array([99, 100]), new Blob(["ef"])], { type: "TEXT/Plain" });
  assertEquals([blob.size, blob.type, await blob.text()], [6, "text/plain", "abcdef"]);
  assertEquals(await blob.slice(1, -1).text(), "bcde");
  assertEquals(await new Response(blob.stream()).text(), "abcdef");
  assertEquals([...await blob.slice(2, 4).bytes()], [99, 100]);
  const file = new File(["x"], "a.txt", { lastModified: 5 });
  assertEquals([file.name, file.lastModified, file instanceof Blob], ["a.txt", 5, true]);
});
