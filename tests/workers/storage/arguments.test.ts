// Arguments that are missing or of another type, in the words of workerd.

import { assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const VALUE = "ReadableStream or ArrayBuffer or ArrayBufferView or string or Blob";
const parameter = (method: string, place: number, type: string, of = "R2Bucket") =>
  `Failed to execute '${method}' on '${of}': parameter ${place} is not of type '${type}'.`;
const field = (name: string, of: string, type: string) =>
  `Incorrect type for the '${name}' field on '${of}': the provided value is not of type '${type}'.`;

async function refuses(calls: [() => Promise<unknown>, string][]) {
  for (const [call, message] of calls) await assertRejects(call, { name: "TypeError", message });
}

test("a call without its arguments is a TypeError", async (env) => {
  const bucket = env.STORAGE;
  const upload = await bucket.createMultipartUpload("upload");
  await refuses([
    [() => bucket.head(), parameter("head", 1, "string")],
    [() => bucket.get(), parameter("get", 1, "string")],
    [() => bucket.put(), parameter("put", 1, "string")],
    [() => bucket.put("key"), parameter("put", 2, VALUE)],
    [() => bucket.delete(), parameter("delete", 1, "string or Array")],
    [() => bucket.createMultipartUpload(), parameter("createMultipartUpload", 1, "string")],
    [() => upload.uploadPart(), parameter("uploadPart", 1, "integer", "R2MultipartUpload")],
    [() => upload.uploadPart(1), parameter("uploadPart", 2, VALUE, "R2MultipartUpload")],
    [() => upload.uploadPart(1, null), parameter("uploadPart", 2, VALUE, "R2MultipartUpload")],
    [() => upload.complete(), parameter("complete", 1, "Array", "R2MultipartUpload")],
  ]);
  const resume = (...given: string[]) => bucket.resumeMultipartUpload(...given);
  assertThrows(() => resume(), { name: "TypeError", message: parameter("resumeMultipartUpload", 1, "string") });
  assertThrows(() => resume("key"), { name: "TypeError", message: parameter("resumeMultipartUpload", 2, "string") });
  assertEquals(await bucket.head("key"), null);
});

test("options that hold no members are a TypeError, and change nothing", async (env) => {
  const bucket = env.STORAGE;
  await bucket.put("key", "value");
  const upload = await bucket.createMultipartUpload("upload");
  for (const options of [1, "etag", true, Symbol("options"), 1n]) {
    await refuses([
      [() => bucket.get("key", options), parameter("get", 2, "GetOptions")],
      [() => bucket.put("key", "other", options), parameter("put", 3, "PutOptions")],
      [() => bucket.list(options), parameter("list", 1, "ListOptions")],
      [() => bucket.createMultipartUpload("key", options), parameter("createMultipartUpload", 2, "MultipartOptions")],
      [() => upload.uploadPart(1, "x", options), parameter("uploadPart", 3, "UploadPartOptions", "R2MultipartUpload")],
      [() => bucket.get("key", { range: options }), field("range", "GetOptions", "Range or Headers")],
      [() => bucket.get("key", { onlyIf: options }), field("onlyIf", "GetOptions", "Conditional or Headers")],
      [() => bucket.put("key", "other", { onlyIf: options }), field("onlyIf", "PutOptions", "Conditional or Headers")],
      [() => bucket.put("key", "other", { httpMetadata: options }), field("httpMetadata", "PutOptions", "HttpMetadata or Headers")],
      [() => bucket.put("key", "other", { customMetadata: options }), field("customMetadata", "PutOptions", "object")],
    ]);
  }
  for (const customMetadata of [null, []]) {
    await refuses([
      [() => bucket.put("key", "other", { customMetadata }), field("customMetadata", "PutOptions", "object")],
      [() => bucket.createMultipartUpload("key", { customMetadata }), field("customMetadata", "MultipartOptions", "object")],
    ]);
  }
  for (const options of [undefined, null, {}, () => {}]) {
    assertEquals(await (await bucket.get("key", options)).text(), "value");
    assertEquals((await bucket.get("key", { onlyIf: options })).size, 5);
    assertEquals((await bucket.list(options)).objects.length, 1);
  }
});

test("members that must be texts or dates are not made ones", async (env) => {
  const bucket = env.STORAGE;
  await bucket.put("key", "value");
  for (const value of [1, null, true, [], ["a"]]) {
    for (const name of ["prefix", "delimiter", "cursor", "startAfter"]) {
      await refuses([[() => bucket.list({ [name]: value }), field(name, "ListOptions", "string")]]);
    }
    for (const name of ["etagMatches", "etagDoesNotMatch"]) {
      await refuses([[() => bucket.get("key", { onlyIf: { [name]: value } }), field(name, "Conditional", "string")]]);
    }
    await refuses([[() => bucket.put("key", "x", { md5: value }), field("md5", "PutOptions", "JsBufferSource or string")]]);
  }
  for (const value of ["2020-01-01", null, true, {}]) {
    await refuses([
      [() => bucket.get("key", { onlyIf: { uploadedAfter: value } }), field("uploadedAfter", "Conditional", "date")],
      [() => bucket.put("key", "x", { httpMetadata: { cacheExpiry: value } }), field("cacheExpiry", "HttpMetadata", "date")],
    ]);
  }
  for (const value of [NaN, new Date(NaN)]) {
    const message = "The value cannot be converted because it is not a valid Date.";
    await refuses([[() => bucket.get("key", { onlyIf: { uploadedBefore: value } }), message]]);
  }
  for (const include of [null, 1, "httpMetadata", new Set(["httpMetadata"])]) {
    await refuses([[() => bucket.list({ include }), field("include", "ListOptions", "Array")]]);
  }
  const message = "Incorrect type for array element 1: the provided value is not of type 'string'.";
  await refuses([[() => bucket.list({ include: ["httpMetadata", 1] }), message]]);
  assertEquals(await (await bucket.get("key")).text(), "value");
});

test("a value that cannot be stored is refused before its options are", async (env) => {
  for (const value of [1, true, [], {}, () => {}, new FormData(), new Response("x")]) {
    await refuses([
      [() => env.STORAGE.put("key", value), parameter("put", 2, VALUE)],
      [() => env.STORAGE.put("key", value, { md5: "0" }), parameter("put", 2, VALUE)],
    ]);
  }
  assertEquals((await env.STORAGE.put("key", undefined)).size, 0);
});

test("numbers are read as workerd reads them", async (env) => {
  const bucket = env.STORAGE;
  await bucket.put("key", "value");
  const ranges: [unknown, string][] = [
    [{ offset: "a" }, "Invalid range. Starting offset (nan) must be greater than or equal to 0."],
    [{ length: -1 }, "Invalid range. Length (-1) must be greater than or equal to 0."],
    [{ suffix: 1.5 }, "Invalid range. Suffix (1.5) must be an integer, not floating point."],
    [{ suffix: NaN }, "Invalid suffix. Suffix (nan) must be greater than or equal to 0."],
  ];
  for (const [range, message] of ranges) {
    await assertRejects(() => bucket.get("key", { range }), { name: "RangeError", message });
  }
  assertEquals(await (await bucket.get("key", { range: { offset: "1", length: Infinity } })).text(), "alue");
  await refuses([
    [() => bucket.get("key", { range: { offset: 1n } }), "Cannot convert a BigInt value to a number"],
    [() => bucket.list({ limit: 2 ** 31 }), "Value out of range. Must be between -2147483648 and 2147483647 (inclusive)."],
  ]);
  for (const limit of [null, NaN, "x", 0, Infinity]) {
    await assertRejects(() => bucket.list({ limit }), {
      message: "list: MaxKeys params must be positive integer <= 1000. (10022)",
    });
  }
  const upload = await bucket.createMultipartUpload("upload");
  for (const [number, shown] of [[null, 0], ["x", 0], [-1, -1], [10001, 10001]]) {
    const message = `Part number must be between 1 and 10000 (inclusive). Actual value was: ${shown}`;
    await refuses([[() => upload.uploadPart(number, "x"), message]]);
  }
  for (const part of [1, "x", null]) {
    const message = "Incorrect type for array element 0: the provided value is not of type 'UploadedPart'.";
    await refuses([[() => upload.complete([part]), message]]);
  }
});

test("a page begins after the last key that was told", async (env) => {
  const bucket = env.STORAGE;
  for (const key of ["p/1", "p/3", "p/5"]) await bucket.put(key, "x");
  const first = await bucket.list({ limit: 2 });
  await bucket.put("p/4", "x");
  const second = await bucket.list({ cursor: first.cursor });
  assertEquals(second.objects.map((object: any) => object.key), ["p/4", "p/5"]);
});
