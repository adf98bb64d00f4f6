// HTTP metadata, custom metadata, checksums: contract sections 4.1 and 4.6.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const EXPIRES = new Date("2030-01-02T03:04:05.000Z");
const FULL = {
  contentType: "text/plain",
  contentLanguage: "de",
  contentDisposition: "inline",
  contentEncoding: "gzip",
  cacheControl: "max-age=1",
  cacheExpiry: EXPIRES,
};
const HEADERS = {
  "cache-control": "max-age=1",
  "content-disposition": "inline",
  "content-encoding": "gzip",
  "content-language": "de",
  "content-type": "text/plain",
  expires: "Wed, 02 Jan 2030 03:04:05 GMT",
};

test("http metadata comes back and becomes headers", async (env) => {
  const put = await env.STORAGE.put("key", "x", { httpMetadata: FULL });
  assertEquals(put.httpMetadata, FULL);
  const object = await env.STORAGE.get("key");
  assertEquals(object.httpMetadata, FULL);
  assert(object.httpMetadata.cacheExpiry instanceof Date, "a Date");
  const headers = new Headers({ "content-type": "replaced", "x-other": "kept" });
  object.writeHttpMetadata(headers);
  assertEquals(Object.fromEntries(headers), { ...HEADERS, "x-other": "kept" });
  assertThrows(() => object.writeHttpMetadata({}), { name: "TypeError", message: /parameter 1 is not of type 'Headers'/ });
});

test("http metadata can be headers", async (env) => {
  await env.STORAGE.put("key", "x", { httpMetadata: new Headers({ ...HEADERS, "x-other": "ignored" }) });
  assertEquals((await env.STORAGE.head("key")).httpMetadata, FULL);
  await env.STORAGE.put("key", "x", { httpMetadata: new Headers({ expires: "never" }) });
  // As HTTP has it, a date that cannot be read is in the past.
  assertEquals((await env.STORAGE.head("key")).httpMetadata, { cacheExpiry: new Date(0) });
});

test("options may be undefined, as the SDK passes them", async (env) => {
  await env.STORAGE.put("key", "x", {
    httpMetadata: { contentType: "a/b", cacheControl: undefined },
    customMetadata: undefined,
    onlyIf: undefined,
    md5: undefined,
  });
  const object = await env.STORAGE.get("key", { range: undefined, onlyIf: undefined });
  assertEquals([object.httpMetadata, object.customMetadata], [{ contentType: "a/b" }, {}]);
  await env.STORAGE.put("key", "x", undefined);
  await env.STORAGE.put("key", "x", {});
  assertEquals((await env.STORAGE.list({ prefix: undefined, limit: undefined, cursor: undefined })).objects.length, 1);
});

test("custom metadata keeps its order and may have any name", async (env) => {
  const customMetadata = { zoo: "1", a: "", "ü \u0000": "😀", constructor: "c" };
  await env.STORAGE.put("key", "x", { customMetadata });
  const told = (await env.STORAGE.head("key")).customMetadata;
  assertEquals(Object.entries(told), Object.entries(customMetadata));
  await env.STORAGE.put("key", "x", { customMetadata: { number: 5 } });
  assertEquals((await env.STORAGE.head("key")).customMetadata, { number: "5" });
});

test("too much custom metadata is refused", async (env) => {
  const message = "put: Your metadata headers exceed the maximum allowed metadata size. (10012)";
  await env.STORAGE.put("key", "x", { customMetadata: { a: "x".repeat(2047) } });
  await assertRejects(() => env.STORAGE.put("key", "x", { customMetadata: { a: "x".repeat(2048) } }), { message });
  await assertRejects(() => env.STORAGE.put("key", "x", { customMetadata: { a: "€".repeat(1024) } }), { message });
});

test("a storage class is told back", async (env) => {
  await env.STORAGE.put("key", "x", { storageClass: "InfrequentAccess" });
  assertEquals((await env.STORAGE.head("key")).storageClass, "InfrequentAccess");
  await assertRejects(() => env.STORAGE.put("key", "x", { storageClass: "Glacier" }), {
    message: 'put: the storage class must be Standard or InfrequentAccess, not "Glacier" (10029)',
  });
});

const DIGESTS: Record<string, [string, string]> = {
  md5: ["MD5", "900150983cd24fb0d6963f7d28e17f72"],
  sha1: ["SHA-1", "a9993e364706816aba3e25717850c26c9cd0d89d"],
  sha256: ["SHA-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
  sha384: [
    "SHA-384",
    "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
  ],
  sha512: [
    "SHA-512",
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
  ],
};
const unhex = (hex: string) => Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));

test("a checksum of any algorithm is compared and kept", async (env) => {
  for (const [algorithm, [title, hex]] of Object.entries(DIGESTS)) {
    for (const digest of [hex, hex.toUpperCase(), unhex(hex), unhex(hex).buffer]) {
      const object = await env.STORAGE.put("key", "abc", { [algorithm]: digest });
      assertEquals(object.checksums.toJSON()[algorithm], hex);
      assertEquals(object.checksums[algorithm], unhex(hex).buffer);
      assertEquals(object.checksums.toJSON().md5, DIGESTS.md5[1]);
    }
    const wrong = "0".repeat(hex.length);
    await assertRejects(() => env.STORAGE.put("key", "abc", { [algorithm]: wrong }), {
      message: `put: The ${title} checksum you specified did not match what we received.\n` +
        `You provided a ${title} checksum with value: ${wrong}\nActual ${title} was: ${hex} (10037)`,
    });
  }
});

test("a checksum that cannot be one is a TypeError", async (env) => {
  for (const [algorithm, [title, hex]] of Object.entries(DIGESTS)) {
    const put = (digest: unknown) => () => env.STORAGE.put("key", "abc", { [algorithm]: digest });
    await assertRejects(put("00"), { name: "TypeError", message: `${title} is ${hex.length} hex characters, not 2` });
    await assertRejects(put(new Uint8Array(3)), {
      name: "TypeError",
      message: `${title} is ${hex.length / 2} bytes, not 3`,
    });
    await assertRejects(put("g".repeat(hex.length)), {
      name: "TypeError",
      message: `Provided ${title} wasn't a valid hex string`,
    });
  }
  await assertRejects(() => env.STORAGE.put("key", "abc", { md5: DIGESTS.md5[1], sha1: DIGESTS.sha1[1] }), {
    name: "TypeError",
    message: "You cannot specify multiple hashing algorithms.",
  });
  assertEquals(await env.STORAGE.head("key"), null);
});
