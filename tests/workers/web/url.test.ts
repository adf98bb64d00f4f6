// URL, URLSearchParams and URLPattern.

import { assert, assertEquals, assertThrows, test } from "../testing.ts";

test("a URL is taken apart and put together", () => {
  const url = new URL("../b?x=1#frag", "https://user:pass@例え.jp:8443/a/c/d");
  assertEquals(url.href, "https://user:pass@xn--r8jz45g.jp:8443/a/b?x=1#frag");
  assertEquals([url.host, url.port, url.username, url.password], ["xn--r8jz45g.jp:8443", "8443", "user", "pass"]);
  url.pathname = "/ä b";
  url.search = "?q=ü&r";
  url.hash = "";
  url.port = "443";
  assertEquals(url.toString(), "https://user:pass@xn--r8jz45g.jp/%C3%A4%20b?q=%C3%BC&r");
  assertEquals(JSON.stringify({ url }), `{"url":"${url.href}"}`);
});

test("URL.canParse and URL.parse do not throw", () => {
  assertEquals([URL.canParse("nope"), URL.canParse("/a", "http://x")], [false, true]);
  assertEquals([URL.parse("nope"), URL.parse("/a", "http://x")?.href], [null, "http://x/a"]);
  assertThrows(() => new URL("nope"), { name: "TypeError", message: /Invalid URL/ });
});

test("searchParams and the URL change together", () => {
  const url = new URL("http://x/?a=1&b=2&a=3");
  assertEquals(url.searchParams.getAll("a"), ["1", "3"]);
  url.searchParams.append("c d", "e&f");
  url.searchParams.delete("a", "1");
  assertEquals(url.search, "?b=2&a=3&c+d=e%26f");
  url.search = "?z=1";
  assertEquals([...url.searchParams], [["z", "1"]]);
});

test("URLSearchParams is made of text, pairs, objects and itself", () => {
  for (const init of ["?a=1&b=2", "a=1&b=2", [["a", "1"], ["b", "2"]], { a: "1", b: "2" }, new URLSearchParams("a=1&b=2")]) {
    assertEquals(new URLSearchParams(init as any).toString(), "a=1&b=2");
  }
  const params = new URLSearchParams("b=1&a=2&b=0");
  params.sort();
  assertEquals([params.toString(), params.size, params.has("b", "0"), params.get("x")], ["a=2&b=1&b=0", 3, true, null]);
});

test("plus and percent are decoded in a query", () => {
  assertEquals([...new URLSearchParams("a=b+c%20d&e=%zz&%F0%9F%98%80=1")], [["a", "b c d"], ["e", "%zz"], ["😀", "1"]]);
});

test("URLPattern matches and captures", () => {
  const pattern = new URLPattern({ pathname: "/users/:id{/posts/:post(\\d+)}?" });
  assertEquals(pattern.test("https://x/users/7"), true);
  assertEquals(pattern.exec("https://x/users/7/posts/12")?.pathname.groups, { id: "7", post: "12" });
  assertEquals(pattern.exec("https://x/other"), null);
  assert(new URLPattern("https://*.example.com/*").test("https://a.example.com/b"), "a pattern of text");
});

test("only http: and https: give a blob: URL an origin", () => {
  const origins = ["blob:https://h:1/x", "blob:http://h/x", "blob:ftp://h/x", "blob:ws://h/x", "blob:blob:https://h/x", "blob:file:///x", "blob:x"];
  assertEquals(origins.map((url) => new URL(url).origin), ["https://h:1", "http://h", "null", "null", "null", "null", "null"]);
  assertEquals([new URL("ftp://h/x").origin, new URL("https://h/x").origin], ["ftp://h", "https://h"]);
  assertEquals(Object.getOwnPropertyDescriptor(URL.prototype, "origin")!.enumerable, true);
});
