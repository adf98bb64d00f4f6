// Signatures, sealed data and keys beyond the plain cases: every legal parameter, agreement with other programs, refusals.

import { assert, assertEquals, assertRejects, test } from "../testing.ts";

const { subtle } = crypto;
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (buffer: ArrayBuffer) => new TextDecoder().decode(buffer);
const base64 = (encoded: string) => Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
const list = (buffer: ArrayBuffer) => [...new Uint8Array(buffer)];

const TAGS = [32, 64, 96, 104, 112, 120, 128];
const HASHES = ["SHA-1", "SHA-256", "SHA-384", "SHA-512"];

test("AES-GCM goes round with every legal length of tag, nonce and key", async () => {
  for (const length of [128, 192, 256]) {
    const key = await subtle.generateKey({ name: "AES-GCM", length }, true, ["encrypt", "decrypt"]) as CryptoKey;
    for (const tagLength of TAGS) {
      for (const size of [1, 8, 12, 13, 16, 20, 32, 100_000]) {
        const parameters = { name: "AES-GCM", iv: new Uint8Array(size).fill(7), tagLength, additionalData: bytes("aad") };
        const sealed = await subtle.encrypt(parameters, key, bytes("data"));
        assertEquals(sealed.byteLength, 4 + tagLength / 8, `${tagLength} and ${size}`);
        assertEquals(text(await subtle.decrypt(parameters, key, sealed)), "data");
        new Uint8Array(sealed)[4] ^= 1;
        await assertRejects(() => subtle.decrypt(parameters, key, sealed), { name: "OperationError", message: /^Decryption failed/ });
      }
    }
  }
});

test("AES-GCM seals as Workers do", async () => {
  const key = await subtle.importKey("raw", new Uint8Array(16), "AES-GCM", true, ["encrypt", "decrypt"]);
  for (
    const [size, expected] of [
      [1, [56, 150, 204, 157, 6, 1, 189, 95, 0, 62, 101, 149, 125, 210, 118, 94, 184, 105, 94, 114]],
      [12, [194, 57, 158, 141, 51, 70, 190, 209, 46, 79, 235, 110, 33, 29, 18, 211, 174, 95, 130, 51]],
      [20, [201, 156, 25, 25, 211, 47, 214, 178, 38, 82, 149, 45, 68, 222, 9, 14, 61, 117, 206, 216]],
      [32, [30, 116, 55, 71, 142, 208, 111, 50, 169, 208, 238, 116, 237, 145, 42, 74, 220, 65, 59, 4]],
    ] as [number, number[]][]
  ) {
    assertEquals(list(await subtle.encrypt({ name: "aes-gcm", iv: new Uint8Array(size).fill(7) }, key, bytes("data"))), expected);
  }
});

test("AES-GCM refuses what Workers refuse", async () => {
  const key = await subtle.importKey("raw", new Uint8Array(16), "AES-GCM", true, ["encrypt", "decrypt"]);
  const iv = new Uint8Array(12);
  for (const tagLength of [0, 8, 16, 100, 136, NaN]) {
    const message = `Invalid AES-GCM tag length ${tagLength || 0}.`;
    for (const run of [() => subtle.encrypt({ name: "AES-GCM", iv, tagLength }, key, iv), () => subtle.decrypt({ name: "AES-GCM", iv, tagLength }, key, iv)]) {
      await assertRejects(run, { name: "OperationError", message });
    }
  }
  await assertRejects(() => subtle.encrypt({ name: "AES-GCM", iv: new Uint8Array() }, key, iv), {
    name: "OperationError",
    message: "AES-GCM IV must not be empty.",
  });
  await assertRejects(() => subtle.encrypt({ name: "AES-GCM" } as any, key, iv), {
    name: "TypeError",
    message: 'Missing field "iv" in "algorithm".',
  });
  await assertRejects(() => subtle.encrypt({ name: "AES-GCM", iv: "text" } as any, key, iv), { name: "TypeError", message: /iv/ });
  await assertRejects(() => subtle.encrypt({ name: "AES-GCM", iv }, key, "text" as any), { name: "TypeError", message: /.+/ });
  await assertRejects(() => subtle.decrypt({ name: "AES-GCM", iv }, key, new Uint8Array(15)), {
    name: "OperationError",
    message: "Ciphertext length of 120 bits must be greater than or equal to the size of the AES-GCM tag length of 128 bits.",
  });
  const sealing = await subtle.importKey("raw", new Uint8Array(16), "AES-GCM", true, ["encrypt"]);
  await assertRejects(() => subtle.decrypt({ name: "AES-GCM", iv }, sealing, new Uint8Array(20)), { name: "InvalidAccessError", message: /.+/ });
  await assertRejects(() => subtle.encrypt({ name: "AES-CBC", iv: new Uint8Array(16) }, key, iv), { name: "InvalidAccessError", message: /.+/ });
});

test("keys are wrapped with AES-GCM of every tag length and with RSA-OAEP", async () => {
  const inner = await subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, true, ["sign"]) as CryptoKey;
  const raw = list(await subtle.exportKey("raw", inner) as ArrayBuffer);
  const outer = await subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["wrapKey", "unwrapKey"]) as CryptoKey;
  for (const format of ["raw", "jwk"] as const) {
    for (const tagLength of TAGS) {
      const algorithm = { name: "AES-GCM", iv: new Uint8Array(20), tagLength };
      const wrapped = await subtle.wrapKey(format, inner, outer, algorithm);
      const unwrapped = await subtle.unwrapKey(format, wrapped, outer, algorithm, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
      assertEquals(list(await subtle.exportKey("raw", unwrapped) as ArrayBuffer), raw);
    }
  }
  const pair = await subtle.generateKey(
    { name: "RSA-OAEP", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
    true,
    ["wrapKey", "unwrapKey"],
  ) as CryptoKeyPair;
  const wrapped = await subtle.wrapKey("raw", inner, pair.publicKey, "RSA-OAEP");
  const unwrapped = await subtle.unwrapKey("raw", wrapped, pair.privateKey, "RSA-OAEP", { name: "HMAC", hash: "SHA-256" }, true, ["sign"]);
  assertEquals(list(await subtle.exportKey("raw", unwrapped) as ArrayBuffer), raw);
});

// Made with OpenSSL.
const RSA_PRIVATE =
  "MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBANS7mYdZNN1Eq9tLdYDpT6WSV1lKcP4i1N/Lu8GAaW1agTyCwspbfqwWTZG9WEtgC3UBjZ1jpHQTWqae2YCUmcsQ3P714qHVX7+hHxdVbXWUIInfnzzTNgOCfeE3zaVcZ+qjqQ2nrTEGPcoiPr4sbw+3CrQy/hG3C4mBHDVGmUu7AgMBAAECgYEAi0DSWzsV09Hj/YUDwgL31BZbf2OvW2xJlMW0fhIk8SRRfN7Ly9LgtJ1U4ZXkelLArTL7FI/pUuJocLGDBxw/Hu/uz/aH3//o3Yd0SW9jw+5+2ebJQ6r4DCBkoUz4EbnqJI9KwjTPyT3Sjf1WeR6bB7BPEM1NybaMsHfMrVHlfIECQQD7HJLW1/7jjCA8MVIFr5jAGazxPbmlcXtUl8XFNlbSIEC33GkYqD2jFUJXjV1SXDEFeSLDy73mHgtRDwbTNBsLAkEA2N/Debj84tTa8lgzCpWrpMXEw/hH+yqIFMieSlzh06fLkYd1zQtPxsRNveuCejym0bRQvvPwQSvkwHqRipqAEQJBAII/YuavKFVMlFfEWT/7waY6axrCIm3u+8J36qwNMGFTO15io9yXP0k8uKmC+JnEmeS13VNjdX9LrCECQ07/YtsCQQDEY+VtDdKbSmu2t54JAL49aQYk/GmajcpLH90PtAqgEzvp3kQT2SF1+n/38xPlw5TBI8tXECnJqojssFGptP0xAkB/MHQzXqp+muaxmwEXIkqV10mz/2BFR2BCQlVmjqvp8PSAEgWoQwuBu/zhUa2bpWQqkCBHcmpmV4GyLkWkoekB";
const RSA_SIGNATURE =
  "nAf0LvyKZ4j1WHDmLQvgY+peu+O78UzCXoHKcMMLHNSeSDWJjdgFpL5iNkeJ+RWbGRpA+3nvIz7/T118Nj82OeVkTbmUKodZTmlTNWFX6cNXMFKXe+DoDesb/16DZc2EvzRBre4fyRX1pCt/9binya3W3XQ3gonCT3qj/CXd3ZQ=";
const RSA_SEALED =
  "s0miTfhTnlU3cyz28sQtYK9Jh8wBgS+tEVS/HkH3q74IpsdY2M8zCMr/X/BNRS4lDCfkknVqnAEgbMXVvyc0mR1GuxheJmS3DB2gwf+W1M4esyBkIVGvneeB40cmR5NxkZztDCkHivBaey6mb6c3ND0FeE1+T/GdlFmRMlxz9Mc=";
const EC_PUBLIC =
  "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQACYL0g1NNZgdTj7ttX+gjGtjDsYKX51IdDdB4yMMK+2OXlaGCmo97vUgXBFvoJRgLcqjFbOLm09gBQSsy0DAcFiIAivScQa1LTMReTIux2KaySQ20ZSG08ofAjUwiHuQ46Imn/956TtUfh7EAbq0bdqInSYPoZm+K6kBMEG3nf+f6LSQ=";
const EC_SIGNATURE = "00A65B89C4F5D0B948F633F77E6280D58080B624997EA496D6AE054042B52C5E3FA6AF3C00223E8830B178A9F0E9ED1486FCD2BD8B6D5BDFC2A21339959EAEB67A7101C6E2B7C10513E41380890A5993EFC6827F5AD1173EAE08162B2E2F3215569FCA8026F7B4BCB4B1FFE7AD2CE6F644D131ABABA0AD78E7A4820393EAAD3339C0703F";

test("signatures and sealed data of OpenSSL are understood, and made alike", async () => {
  const signing = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const key = await subtle.importKey("pkcs8", base64(RSA_PRIVATE), signing, false, ["sign"]);
  assertEquals(list(await subtle.sign("RSASSA-PKCS1-v1_5", key, bytes("data"))), [...base64(RSA_SIGNATURE)]);
  const opening = await subtle.importKey("pkcs8", base64(RSA_PRIVATE), { name: "RSA-OAEP", hash: "SHA-256" }, false, ["decrypt"]);
  assertEquals(text(await subtle.decrypt({ name: "RSA-OAEP", label: bytes("label") }, opening, base64(RSA_SEALED))), "secret");
  await assertRejects(() => subtle.decrypt("RSA-OAEP", opening, base64(RSA_SEALED)), { name: "OperationError", message: /.+/ });
  const verifying = await subtle.importKey("spki", base64(EC_PUBLIC), { name: "ECDSA", namedCurve: "P-521" }, false, ["verify"]);
  const signature = Uint8Array.from(EC_SIGNATURE.match(/../g)!, (pair) => parseInt(pair, 16));
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  assertEquals(await subtle.verify(algorithm, verifying, signature, bytes("data")), true);
  assertEquals(await subtle.verify(algorithm, verifying, signature, bytes("date")), false);
  assertEquals(await subtle.verify(algorithm, verifying, signature.subarray(1), bytes("data")), false);
});

test("ECDSA signs on every curve with every hash", async () => {
  for (const [namedCurve, size] of [["P-256", 64], ["P-384", 96], ["P-521", 132]] as const) {
    const pair = await subtle.generateKey({ name: "ECDSA", namedCurve }, true, ["sign", "verify"]) as CryptoKeyPair;
    for (const hash of HASHES) {
      const signature = await subtle.sign({ name: "ECDSA", hash }, pair.privateKey, bytes("m"));
      assertEquals(signature.byteLength, size);
      assertEquals(await subtle.verify({ name: "ECDSA", hash: { name: hash } }, pair.publicKey, signature, bytes("m")), true);
      assertEquals(await subtle.verify({ name: "ECDSA", hash }, pair.publicKey, signature, bytes("n")), false);
    }
    await assertRejects(() => subtle.sign({ name: "ECDSA", hash: "MD5" }, pair.privateKey, bytes("m")), { name: "NotSupportedError", message: /.+/ });
    await assertRejects(() => subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.publicKey, bytes("m")), { name: "InvalidAccessError", message: /.+/ });
  }
});

test("RSA signs with every hash and with salts of every length that fits", async () => {
  for (const hash of HASHES) {
    for (const [name, modulusLength, publicExponent] of [["RSASSA-PKCS1-v1_5", 1024, [3]], ["RSA-PSS", 2048, [1, 0, 1]]] as const) {
      const algorithm = { name, modulusLength, publicExponent: new Uint8Array(publicExponent), hash };
      const pair = await subtle.generateKey(algorithm, false, ["sign", "verify"]) as CryptoKeyPair;
      assertEquals([pair.privateKey.extractable, pair.publicKey.extractable], [false, true]);
      assertEquals([pair.privateKey.usages, pair.publicKey.usages], [["sign"], ["verify"]]);
      assertEquals({ ...pair.publicKey.algorithm }, { name, modulusLength, publicExponent: new Uint8Array(publicExponent), hash: { name: hash } });
      const most = 256 - 2 - { "SHA-1": 20, "SHA-256": 32, "SHA-384": 48, "SHA-512": 64 }[hash]!;
      for (const saltLength of name === "RSA-PSS" ? [0, 1, 20, most] : [0]) {
        const signature = await subtle.sign({ name, saltLength }, pair.privateKey, bytes("m"));
        assertEquals(await subtle.verify({ name, saltLength }, pair.publicKey, signature, bytes("m")), true);
        assertEquals(await subtle.verify({ name, saltLength }, pair.publicKey, signature, bytes("n")), false);
      }
      if (name === "RSA-PSS") {
        await assertRejects(() => subtle.sign({ name, saltLength: most + 1 }, pair.privateKey, bytes("m")), {
          name: "OperationError",
          message: "key too small for signing with given digest and salt length",
        });
      }
    }
  }
});

test("RSA keys that take too long or are none are not generated", async () => {
  const generate = (modulusLength: number, publicExponent: number[], usages: KeyUsage[] = ["sign", "verify"], hash = "SHA-256") =>
    subtle.generateKey({ name: "RSA-PSS", modulusLength, publicExponent: new Uint8Array(publicExponent), hash }, true, usages);
  for (const bits of [0, 256, 1000, 2047, 4224, 8192, 16384, 2 ** 31]) {
    await assertRejects(() => generate(bits, [1, 0, 1]), {
      name: "OperationError",
      message: `The modulus length must be a multiple of 128 and between 512 and 4096, but ${bits} was requested.`,
    });
  }
  for (const exponent of [[], [1], [17], [1, 0, 0, 0, 0, 0, 0, 0, 1]]) {
    await assertRejects(() => generate(1024, exponent), { name: "OperationError", message: /^The "publicExponent" must be either 3 or 65537/ });
  }
  await assertRejects(() => generate(1024, [3], ["encrypt"]), { name: "SyntaxError", message: /.+/ });
  await assertRejects(() => generate(1024, [3], ["verify"]), { name: "SyntaxError", message: /.+/ });
  await assertRejects(() => generate(1024, [3], ["sign"], "MD5"), { name: "NotSupportedError", message: /.+/ });
});

test("private keys whose parts are missing or do not belong together are not imported", async () => {
  const refused = { name: "DataError", message: /.+/ };
  const jwkOf = async (algorithm: any, usages: KeyUsage[]) => {
    const pair = await subtle.generateKey(algorithm, true, usages) as CryptoKeyPair;
    return await subtle.exportKey("jwk", pair.privateKey) as JsonWebKey;
  };
  for (const [name, usage] of [["ECDSA", "sign"], ["ECDH", "deriveBits"]] as const) {
    for (const namedCurve of ["P-256", "P-384", "P-521"]) {
      const algorithm = { name, namedCurve };
      const usages: KeyUsage[] = name === "ECDSA" ? ["sign", "verify"] : ["deriveBits"];
      const [one, other] = [await jwkOf(algorithm, usages), await jwkOf(algorithm, usages)];
      const load = (changes: JsonWebKey) => subtle.importKey("jwk", { ...one, ...changes }, algorithm, true, [usage]);
      assertEquals((await load({})).type, "private");
      for (const changes of [{ x: other.x, y: other.y }, { x: other.x }, { y: other.y }, { d: other.d }, { d: one.d!.slice(4) }, { y: undefined }, { d: "A".repeat(one.d!.length) }]) {
        await assertRejects(() => load(changes), refused);
      }
      await assertRejects(() => subtle.importKey("jwk", { kty: "EC", crv: namedCurve, x: one.x, y: other.y }, algorithm, true, name === "ECDSA" ? ["verify"] : []), refused);
    }
  }
  for (const [name, usage] of [["Ed25519", "sign"], ["X25519", "deriveBits"]] as const) {
    const jwk = await jwkOf(name, name === "Ed25519" ? ["sign", "verify"] : ["deriveBits"]);
    const load = (changes: JsonWebKey) => subtle.importKey("jwk", { ...jwk, ...changes }, name, true, [usage]);
    assertEquals((await load({})).type, "private");
    for (const changes of [{ x: undefined }, { x: jwk.x!.slice(4) }, { x: "!" }]) {
      const message = `Invalid ${name} key in JSON WebKey; missing or invalid public key component ("x").`;
      await assertRejects(() => load(changes), { name: "DataError", message });
    }
  }
});

test("RSA keys whose numbers do not belong together are not imported", async () => {
  const algorithm = { name: "RSA-PSS", modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
  const make = async () => {
    const pair = await subtle.generateKey(algorithm, true, ["sign", "verify"]) as CryptoKeyPair;
    return await subtle.exportKey("jwk", pair.privateKey) as any;
  };
  const [one, other] = [await make(), await make()];
  const load = (changes: JsonWebKey) => subtle.importKey("jwk", { ...one, ...changes }, algorithm, true, ["sign"]);
  assertEquals((await load({})).type, "private");
  for (const name of ["n", "d", "p", "q", "dp", "dq", "qi"]) {
    await assertRejects(() => load({ [name]: other[name] }), { name: "DataError", message: /.+/ });
    if (name !== "d") await assertRejects(() => load({ [name]: undefined }), { name: "DataError", message: /.+/ });
  }
  await assertRejects(() => subtle.importKey("jwk", { kty: "RSA", n: "AQ", e: "AQAB" }, algorithm, true, ["verify"]), { name: "DataError", message: /.+/ });
});

test("the hashes of keys have the names of the standard, whatever case they are given in", async () => {
  for (const hash of ["sha-256", { name: "Sha-256" }]) {
    const key = await subtle.importKey("raw", new Uint8Array(32), { name: "hmac", hash }, true, ["sign", "verify"]);
    assertEquals((key.algorithm as any).hash, { name: "SHA-256" });
    assertEquals((await subtle.sign("HMAC", key, bytes("m"))).byteLength, 32);
    const derived = await subtle.generateKey({ name: "HMAC", hash, length: 128 }, true, ["sign"]) as CryptoKey;
    assertEquals([(derived.algorithm as any).hash, (derived.algorithm as any).length], [{ name: "SHA-256" }, 128]);
  }
  const refused = { name: "NotSupportedError", message: "Unrecognized hash algorithm: MD5" };
  await assertRejects(() => subtle.importKey("raw", new Uint8Array(32), { name: "HMAC", hash: "MD5" }, true, ["sign"]), refused);
  await assertRejects(async () => await subtle.generateKey({ name: "HMAC", hash: "MD5" }, true, ["sign"]), refused);
});

test("what is no key is not imported", async () => {
  const noise = new Uint8Array(31).fill(48);
  const refused = { name: "DataError", message: /.+/ };
  for (const algorithm of [{ name: "ECDSA", namedCurve: "P-256" }, { name: "RSA-PSS", hash: "SHA-256" }, "Ed25519"] as any[]) {
    await assertRejects(() => subtle.importKey("pkcs8", noise, algorithm, true, ["sign"]), refused);
    await assertRejects(() => subtle.importKey("spki", noise, algorithm, true, ["verify"]), refused);
  }
  await assertRejects(() => subtle.importKey("raw", new Uint8Array(65), { name: "ECDSA", namedCurve: "P-256" }, true, ["verify"]), refused);
  await assertRejects(() => subtle.importKey("raw", noise, "Ed25519", true, ["verify"]), refused);
  await assertRejects(() => subtle.importKey("raw", new Uint8Array(15), "AES-GCM", true, ["encrypt"]), refused);
  await assertRejects(() => subtle.importKey("jwk", { kty: "oct", k: "!!" }, "AES-GCM", true, ["encrypt"]), refused);
  await assertRejects(() => subtle.importKey("jwk", { kty: "EC", k: "AAAA" }, { name: "HMAC", hash: "SHA-256" }, true, ["sign"]), refused);
  await assertRejects(() => subtle.importKey("raw", new Uint8Array(), { name: "HMAC", hash: "SHA-256" }, true, ["sign"]), refused);
});

test("PBKDF2 derives bits and keys of every kind", async () => {
  const password = await subtle.importKey("raw", bytes("password"), "PBKDF2", false, ["deriveBits", "deriveKey"]);
  const algorithm = (iterations: number, hash = "SHA-256") => ({ name: "PBKDF2", hash, salt: bytes("salt"), iterations });
  // RFC 6070 and RFC 7914.
  assertEquals(list(await subtle.deriveBits(algorithm(4096, "SHA-1"), password, 160)), [0x4b, 0, 0x79, 1, 0xb7, 0x65, 0x48, 0x9a, 0xbe, 0xad, 0x49, 0xd9, 0x26, 0xf7, 0x21, 0xd0, 0x65, 0xa4, 0x29, 0xc1]);
  const bits = list(await subtle.deriveBits(algorithm(20_000), password, 1024));
  for (const [derived, usages, length] of [[{ name: "AES-GCM", length: 256 }, ["encrypt"], 32], [{ name: "AES-CBC", length: 128 }, ["decrypt"], 16], [{ name: "HMAC", hash: "SHA-512" }, ["sign"], 128], [{ name: "HMAC", hash: "SHA-1", length: 160 }, ["verify"], 20]] as [any, KeyUsage[], number][]) {
    const key = await subtle.deriveKey(algorithm(20_000), password, derived, true, usages);
    assertEquals([key.usages, key.algorithm.name], [usages, derived.name]);
    assertEquals(list(await subtle.exportKey("raw", key) as ArrayBuffer), bits.slice(0, length));
  }
  assertEquals((await subtle.deriveBits(algorithm(1), password, 0)).byteLength, 0);
  for (const [iterations, length] of [[0, 256], [1, 7], [1, null]] as [number, any][]) {
    await assertRejects(() => subtle.deriveBits(algorithm(iterations), password, length), { name: "OperationError", message: /.+/ });
  }
  await assertRejects(() => subtle.deriveBits(algorithm(100_000), password, 8 * 32 * 21), {
    name: "NotSupportedError",
    message: "Pbkdf2 failed: 100000 iterations for 672 bytes are more than one derivation may take.",
  });
  await assertRejects(() => subtle.deriveKey(algorithm(100_001), password, { name: "AES-GCM", length: 256 }, true, ["encrypt"]), {
    name: "NotSupportedError",
    message: "Pbkdf2 failed: iteration counts above 100000 are not supported (requested 100001).",
  });
});

test("what derives for long although Workers cannot do it is bounded", async () => {
  const password = await subtle.importKey("raw-secret" as any, bytes("password"), "Argon2id", false, ["deriveBits"]);
  const derive = (memory: number, passes: number, parallelism = 1) =>
    subtle.deriveBits({ name: "Argon2id", memory, passes, parallelism, nonce: bytes("a nonce of bytes") } as any, password, 256);
  assertEquals((await derive(1024, 1)).byteLength, 32);
  for (const [memory, passes, lanes] of [[65_537, 1, 1], [65_536, 5, 1], [1024, 1, 17]]) {
    await assertRejects(() => derive(memory, passes, lanes), { name: "NotSupportedError", message: /^Argon2 failed: more than/ });
  }
});

test("a digest is the same for every view of bytes, and none is made of shared ones", async () => {
  const buffer = bytes("xabc").buffer;
  const expected = list(await subtle.digest("SHA-256", bytes("abc")));
  assertEquals(list(await subtle.digest({ name: "sha-256" }, new Uint8Array(buffer, 1))), expected);
  assertEquals(list(await subtle.digest("SHA-256", new DataView(buffer, 1, 3))), expected);
  assertEquals((await subtle.digest("SHA-512", new ArrayBuffer(0))).byteLength, 64);
  for (const value of ["abc", [1], null, new SharedArrayBuffer(3)] as any[]) {
    await assertRejects(() => subtle.digest("SHA-256", value), { name: "TypeError", message: /.+/ });
  }
  // A long s and a kelvin sign are no ASCII letters, whatever their upper and lower case are.
  await assertRejects(() => subtle.digest("\u017fHA-256", bytes("abc")), { name: "NotSupportedError", message: /.+/ });
});

test("a key that is not extractable is shown by nothing", async () => {
  const key = await subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt"]) as CryptoKey;
  for (const name of ["exportNodeMaterial", "fromCloneData", "importSync"]) {
    assertEquals(name in CryptoKey, false, name);
  }
  for (const name of ["create", "registerSymbols"]) {
    assertEquals([name in Crypto, name in SubtleCrypto], [false, false], name);
  }
  await assertRejects(() => subtle.exportKey("raw", key), { name: "InvalidAccessError", message: /.+/ });
  assert(structuredClone(key).extractable === false, "a clone stays what it is");
});

test("methods of crypto.subtle reject, and have the shape of the standard", async () => {
  const { digest } = subtle as any;
  await assertRejects(() => digest("SHA-256", new Uint8Array()), { name: "TypeError", message: /.+/ });
  await assertRejects(() => (subtle as any).digest("SHA-256"), { name: "TypeError", message: /.+/ });
  await assertRejects(() => (subtle as any).sign("HMAC", {}, new Uint8Array()), { name: "TypeError", message: /.+/ });
  for (const [name, length] of Object.entries({ digest: 2, encrypt: 3, sign: 3, verify: 4, deriveBits: 2, deriveKey: 5, generateKey: 3, importKey: 5, wrapKey: 4, unwrapKey: 7 })) {
    const method = (subtle as any)[name];
    assertEquals([method.name, method.length], [name, length]);
  }
});
