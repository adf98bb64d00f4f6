// Uploads in parts: contract section 4.7. The smallest part has ten bytes here.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const TEN = "0123456789";

test("parts become an object", async (env) => {
  const upload = await env.STORAGE.createMultipartUpload("key", {
    httpMetadata: { contentType: "video/mp4" },
    customMetadata: { a: "b" },
  });
  assertEquals([upload.key, typeof upload.uploadId], ["key", "string"]);
  const parts = [
    await upload.uploadPart(1, TEN),
    await upload.uploadPart(2, new TextEncoder().encode(TEN)),
    await upload.uploadPart(9, new Blob(["end"])),
  ];
  assertEquals(parts.map((part) => part.partNumber), [1, 2, 9]);
  assertEquals(await env.STORAGE.head("key"), null);
  const object = await upload.complete(parts.reverse().sort((a, b) => a.partNumber - b.partNumber));
  assert(/^[0-9a-f]{32}-3$/.test(object.etag), object.etag);
  assertEquals([object.size, object.checksums.toJSON(), object.range], [23, {}, undefined]);
  assertEquals([object.httpMetadata, object.customMetadata], [{ contentType: "video/mp4" }, { a: "b" }]);
  assertEquals(await (await env.STORAGE.get("key")).text(), `${TEN}${TEN}end`);
  const range = await env.STORAGE.get("key", { range: { offset: 8, length: 4 } });
  assertEquals(await range.text(), "8901");
});

test("an upload is resumed by its id, without a promise", async (env) => {
  const { uploadId } = await env.STORAGE.createMultipartUpload("key");
  const upload = env.STORAGE.resumeMultipartUpload("key", uploadId);
  assertEquals([upload.key, upload.uploadId], ["key", uploadId]);
  const part = await upload.uploadPart(1, "x");
  await env.STORAGE.resumeMultipartUpload("key", uploadId).complete([part]);
  assertEquals(await (await env.STORAGE.get("key")).text(), "x");
});

test("no parts become an empty object", async (env) => {
  const object = await (await env.STORAGE.createMultipartUpload("key")).complete([]);
  assertEquals([object.size, object.etag], [0, "d41d8cd98f00b204e9800998ecf8427e-0"]);
  assertEquals(await (await env.STORAGE.get("key")).text(), "");
});

test("a part number is between 1 and 10000", async (env) => {
  const upload = await env.STORAGE.createMultipartUpload("key");
  for (const number of [0, -1, 10001]) {
    const expected = {
      name: "TypeError",
      message: `Part number must be between 1 and 10000 (inclusive). Actual value was: ${number}`,
    };
    await assertRejects(() => upload.uploadPart(number, "x"), expected);
    await assertRejects(() => upload.complete([{ partNumber: number, etag: "x" }]), expected);
  }
});

test("wrong parts have the errors of R2", async (env) => {
  const upload = await env.STORAGE.createMultipartUpload("key");
  const [small, ten, eleven, replaced] = [
    await upload.uploadPart(1, "small"),
    await upload.uploadPart(2, TEN),
    await upload.uploadPart(3, `${TEN}1`),
    await upload.uploadPart(4, TEN),
  ];
  await upload.uploadPart(4, TEN);
  const complete = (...parts: unknown[]) => () => upload.complete(parts);
  const prefix = "completeMultipartUpload: ";
  await assertRejects(complete(ten, ten), {
    message: `${prefix}We encountered an internal error. Please try again. (10001)`,
  });
  const notFound = `${prefix}One or more of the specified parts could not be found. (10025)`;
  await assertRejects(complete(ten, { partNumber: 5, etag: "x" }), { message: notFound });
  await assertRejects(complete(replaced), { message: notFound });
  await assertRejects(complete(small, ten), {
    message: `${prefix}Your proposed upload is smaller than the minimum allowed object size. (10011)`,
  });
  await assertRejects(complete(ten, eleven), {
    message: `${prefix}There was a problem with the multipart upload. (10048)`,
  });
  assertEquals(await env.STORAGE.head("key"), null);
});

test("an upload that is over, or never was, is refused", async (env) => {
  const noSuch = "The specified multipart upload does not exist. (10024)";
  const internal = "We encountered an internal error. Please try again. (10001)";
  const unknown = env.STORAGE.resumeMultipartUpload("key", "unknown");
  await assertRejects(() => unknown.uploadPart(1, "x"), { message: `uploadPart: ${noSuch}` });
  await assertRejects(() => unknown.complete([]), { message: `completeMultipartUpload: ${internal}` });
  await assertRejects(() => unknown.abort(), { message: `abortMultipartUpload: ${internal}` });
  const aborted = await env.STORAGE.createMultipartUpload("key");
  const part = await aborted.uploadPart(1, "x");
  assertEquals(await aborted.abort(), undefined);
  assertEquals(await aborted.abort(), undefined);
  await assertRejects(() => aborted.uploadPart(1, "x"), { message: `uploadPart: ${noSuch}` });
  await assertRejects(() => aborted.complete([part]), { message: `completeMultipartUpload: ${noSuch}` });
  assertEquals(await env.STORAGE.head("key"), null);
});
