// crypto and crypto.subtle.

import { assert, assertEquals, assertRejects, assertThrows, test } from "../testing.ts";

const { subtle } = crypto;
const bytes = (text: string) => new TextEncoder().encode(text);
const hex = (buffer: ArrayBuffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

test("random UUIDs and random values", () => {
  assert(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), "version 4");
  assert(crypto.randomUUID() !== crypto.randomUUID(), "two differ");
  const values = new Uint32Array(16);
  assertEquals(crypto.getRandomValues(values) === values, true);
  assert(values.some((value) => value !== 0), "not all zero");
  assertThrows(() => crypto.getRandomValues(new Uint8Array(65537)), { name: "QuotaExceededError", message: /.+/ });
  assertThrows(() => crypto.getRandomValues(new Float32Array(1) as any), { name: "TypeMismatchError", message: /.+/ });
});

test("digests", async () => {
  for (
    const [name, expected] of [
      ["SHA-1", "a9993e364706816aba3e25717850c26c9cd0d89d"],
      ["SHA-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
      ["SHA-384", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"],
      [{ name: "sha-512" }, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"],
    ] as [any, string][]
  ) {
    assertEquals(hex(await subtle.digest(name, bytes("abc"))), expected);
  }
  await assertRejects(() => subtle.digest("SHA-3", bytes("abc")), { name: "NotSupportedError", message: /.+/ });
});

test("HMAC signs and verifies", async () => {
  const key = await subtle.importKey("raw", bytes("key"), { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
  const signature = await subtle.sign("HMAC", key, bytes("The quick brown fox jumps over the lazy dog"));
  assertEquals(hex(signature), "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
  assertEquals(await subtle.verify("HMAC", key, signature, bytes("The quick brown fox jumps over the lazy dog")), true);
  assertEquals(await subtle.verify("HMAC", key, signature, bytes("another")), false);
  await assertRejects(() => subtle.exportKey("raw", key), { name: "InvalidAccessError", message: /.+/ });
});

test("AES-GCM encrypts, decrypts and notices changes", async () => {
  const key = await subtle.generateKey({ name: "AES-GCM", length: 256 }, true, ["encrypt", "decrypt"]) as CryptoKey;
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const parameters = { name: "AES-GCM", iv, additionalData: bytes("aad") };
  const sealed = await subtle.encrypt(parameters, key, bytes("secret"));
  assertEquals(sealed.byteLength, 6 + 16);
  assertEquals(new TextDecoder().decode(await subtle.decrypt(parameters, key, sealed)), "secret");
  new Uint8Array(sealed)[0] ^= 1;
  await assertRejects(() => subtle.decrypt(parameters, key, sealed), { name: "OperationError", message: /.*/ });
});

test("AES-CBC and AES-CTR go round", async () => {
  for (const [name, parameters] of [["AES-CBC", { iv: new Uint8Array(16) }], ["AES-CTR", { counter: new Uint8Array(16), length: 64 }]] as const) {
    const key = await subtle.importKey("raw", new Uint8Array(16), name, false, ["encrypt", "decrypt"]);
    const sealed = await subtle.encrypt({ name, ...parameters } as any, key, bytes("some text of twenty."));
    assertEquals(new TextDecoder().decode(await subtle.decrypt({ name, ...parameters } as any, key, sealed)), "some text of twenty.");
  }
});

test("ECDSA signs, verifies and survives JWK", async () => {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const pair = await subtle.generateKey(algorithm, true, ["sign", "verify"]) as CryptoKeyPair;
  const signing = { name: "ECDSA", hash: "SHA-256" };
  const signature = await subtle.sign(signing, pair.privateKey, bytes("m"));
  assertEquals(signature.byteLength, 64);
  const jwk = await subtle.exportKey("jwk", pair.publicKey) as JsonWebKey;
  assertEquals([jwk.kty, jwk.crv, jwk.ext, jwk.d], ["EC", "P-256", true, undefined]);
  const imported = await subtle.importKey("jwk", jwk, algorithm, false, ["verify"]);
  assertEquals(await subtle.verify(signing, imported, signature, bytes("m")), true);
  assertEquals(await subtle.verify(signing, imported, signature, bytes("x")), false);
});

test("RSA signs with PKCS1 and PSS and encrypts with OAEP", async () => {
  const base = { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
  const signing = await subtle.generateKey({ name: "RSASSA-PKCS1-v1_5", ...base }, true, ["sign", "verify"]) as CryptoKeyPair;
  const signature = await subtle.sign("RSASSA-PKCS1-v1_5", signing.privateKey, bytes("m"));
  assertEquals(await subtle.verify("RSASSA-PKCS1-v1_5", signing.publicKey, signature, bytes("m")), true);
  const pkcs8 = await subtle.exportKey("pkcs8", signing.privateKey);
  const spki = await subtle.exportKey("spki", signing.publicKey);
  const pss = { name: "RSA-PSS", hash: "SHA-256" };
  const privateKey = await subtle.importKey("pkcs8", pkcs8, pss, false, ["sign"]);
  const publicKey = await subtle.importKey("spki", spki, pss, false, ["verify"]);
  const parameters = { name: "RSA-PSS", saltLength: 32 };
  assertEquals(await subtle.verify(parameters, publicKey, await subtle.sign(parameters, privateKey, bytes("m")), bytes("m")), true);
  const oaep = { name: "RSA-OAEP", hash: "SHA-256" };
  const sealed = await subtle.encrypt(oaep, await subtle.importKey("spki", spki, oaep, false, ["encrypt"]), bytes("secret"));
  const opened = await subtle.decrypt(oaep, await subtle.importKey("pkcs8", pkcs8, oaep, false, ["decrypt"]), sealed);
  assertEquals(new TextDecoder().decode(opened), "secret");
});

test("PBKDF2 and HKDF derive what the standards say", async () => {
  const password = await subtle.importKey("raw", bytes("password"), "PBKDF2", false, ["deriveBits", "deriveKey"]);
  const bits = await subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: bytes("salt"), iterations: 1 }, password, 256);
  assertEquals(hex(bits), "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b");
  const secret = await subtle.importKey("raw", new Uint8Array(22).fill(0x0b), "HKDF", false, ["deriveBits"]);
  const salt = Uint8Array.from({ length: 13 }, (_, n) => n);
  const info = Uint8Array.from({ length: 10 }, (_, n) => 0xf0 + n);
  const derived = await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, secret, 336);
  assertEquals(hex(derived), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
});

test("a JWT of another program is verified", async () => {
  const token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
  const [header, payload, signature] = token.split(".");
  const decode = (text: string) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  const jwk = { kty: "oct", k: btoa("your-256-bit-secret").replaceAll("=", ""), alg: "HS256", ext: true };
  const key = await subtle.importKey("jwk", jwk, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  assertEquals(await subtle.verify("HMAC", key, decode(signature), bytes(`${header}.${payload}`)), true);
});

test("Ed25519 and X25519 work", async () => {
  const pair = await subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const signature = await subtle.sign("Ed25519", pair.privateKey, bytes("m"));
  assertEquals([signature.byteLength, await subtle.verify("Ed25519", pair.publicKey, signature, bytes("m"))], [64, true]);
  const [one, two] = [
    await subtle.generateKey("X25519", true, ["deriveBits"]) as CryptoKeyPair,
    await subtle.generateKey("X25519", true, ["deriveBits"]) as CryptoKeyPair,
  ];
  const shared = await subtle.deriveBits({ name: "X25519", public: two.publicKey } as any, one.privateKey, 256);
  assertEquals(hex(shared), hex(await subtle.deriveBits({ name: "X25519", public: one.publicKey } as any, two.privateKey, 256)));
});

test("keys are wrapped and tell what they are", async () => {
  const key = await subtle.generateKey({ name: "HMAC", hash: "SHA-512" }, true, ["sign"]) as CryptoKey;
  assertEquals([key.type, key.extractable, key.usages, (key.algorithm as any).name], ["secret", true, ["sign"], "HMAC"]);
  assertEquals(Object.prototype.toString.call(key), "[object CryptoKey]");
  const wrapping = await subtle.importKey("raw", new Uint8Array(32), "AES-KW", false, ["wrapKey", "unwrapKey"]);
  const wrapped = await subtle.wrapKey("raw", key, wrapping, "AES-KW");
  const unwrapped = await subtle.unwrapKey("raw", wrapped, wrapping, "AES-KW", { name: "HMAC", hash: "SHA-512" }, true, ["sign"]);
  assertEquals(hex(await subtle.exportKey("raw", unwrapped) as ArrayBuffer), hex(await subtle.exportKey("raw", key) as ArrayBuffer));
  assertThrows(() => new (CryptoKey as any)(), { name: "TypeError", message: /Illegal constructor/ });
});
