// What benches/crypto asks for: `GET /<operation>?times=<n>` does it n times and answers with n.

const { subtle } = crypto;
const small = new Uint8Array(256).fill(7);
const large = new Uint8Array(1024 * 1024).fill(7);
const iv = new Uint8Array(12);
const rsa = (name, modulusLength = 2048) => ({ name, modulusLength, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" });
const ecdsa = { name: "ECDSA", hash: "SHA-256" };
const pss = { name: "RSA-PSS", saltLength: 32 };

async function prepare() {
  const pkcs1 = await subtle.generateKey(rsa("RSASSA-PKCS1-v1_5"), true, ["sign", "verify"]);
  const salted = await subtle.generateKey(rsa("RSA-PSS"), true, ["sign", "verify"]);
  const oaep = await subtle.generateKey(rsa("RSA-OAEP"), true, ["encrypt", "decrypt"]);
  const p256 = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const p384 = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, true, ["sign", "verify"]);
  const hmac = await subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, true, ["sign", "verify"]);
  const aes = await subtle.generateKey({ name: "AES-GCM", length: 256 }, true, ["encrypt", "decrypt"]);
  const password = await subtle.importKey("raw", small, "PBKDF2", false, ["deriveBits"]);
  const signed = {
    pkcs1: await subtle.sign("RSASSA-PKCS1-v1_5", pkcs1.privateKey, small),
    p256: await subtle.sign(ecdsa, p256.privateKey, small),
    hmac: await subtle.sign("HMAC", hmac, small),
    oaep: await subtle.encrypt("RSA-OAEP", oaep.publicKey, small.subarray(0, 32)),
    aes: await subtle.encrypt({ name: "AES-GCM", iv }, aes, small),
  };
  return {
    "nothing": () => {},
    "sign-rsa-2048": () => subtle.sign("RSASSA-PKCS1-v1_5", pkcs1.privateKey, small),
    "sign-rsa-pss-2048": () => subtle.sign(pss, salted.privateKey, small),
    "verify-rsa-2048": () => subtle.verify("RSASSA-PKCS1-v1_5", pkcs1.publicKey, signed.pkcs1, small),
    "decrypt-rsa-oaep-2048": () => subtle.decrypt("RSA-OAEP", oaep.privateKey, signed.oaep),
    "generate-rsa-2048": () => subtle.generateKey(rsa("RSA-PSS"), true, ["sign", "verify"]),
    "sign-p256": () => subtle.sign(ecdsa, p256.privateKey, small),
    "sign-p384": () => subtle.sign(ecdsa, p384.privateKey, small),
    "verify-p256": () => subtle.verify(ecdsa, p256.publicKey, signed.p256, small),
    "generate-p256": () => subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]),
    "sign-hmac": () => subtle.sign("HMAC", hmac, small),
    "verify-hmac": () => subtle.verify("HMAC", hmac, signed.hmac, small),
    "encrypt-aes-gcm": () => subtle.encrypt({ name: "AES-GCM", iv }, aes, small),
    "encrypt-aes-gcm-1mb": () => subtle.encrypt({ name: "AES-GCM", iv }, aes, large),
    "decrypt-aes-gcm": () => subtle.decrypt({ name: "AES-GCM", iv }, aes, signed.aes),
    "digest-sha256": () => subtle.digest("SHA-256", small),
    "digest-sha256-1mb": () => subtle.digest("SHA-256", large),
    "derive-pbkdf2-100000": () => subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: small, iterations: 100_000 }, password, 256),
  };
}

let operations;

export default {
  async fetch(request) {
    const url = new URL(request.url);
    operations ??= await prepare();
    const operation = operations[url.pathname.slice(1)];
    if (operation === undefined) {
      return Response.json(Object.keys(operations), { status: 404 });
    }
    const times = Number(url.searchParams.get("times"));
    for (let i = 0; i < times; i++) {
      await operation();
    }
    return new Response(String(times));
  },
};
