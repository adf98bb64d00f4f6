// `crypto`: deno_crypto's, with what AWS-LC does better put in its place, and with bounds on what takes long.
//
// Loaded at the first use, when user code may have replaced every global: nothing here iterates with the protocols that it can change.
// Each method looks whether a call is one that it knows in full: the right kind of key, parameters that are
// complete. Any other goes to deno_crypto, which has the errors of the standard for it.

(function () {
const { core, primordials } = __bootstrap;
const {
  op_crypto_begin_turn,
  op_crypto_decrypt_oaep,
  op_crypto_digest,
  op_crypto_end_turn,
  op_crypto_generate_rsa,
  op_crypto_hold_key,
  op_crypto_is_ec_pair,
  op_crypto_open,
  op_crypto_pbkdf2,
  op_crypto_seal,
  op_crypto_sign,
  op_crypto_verify,
} = core.ops;
const {
  ArrayBuffer,
  ArrayPrototypePush,
  FunctionPrototypeApply,
  JSONParse,
  JSONStringify,
  MathTrunc,
  Number,
  NumberIsInteger,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  SafeWeakMap,
  String,
  StringPrototypeCharCodeAt,
  StringPrototypeReplaceAll,
  StringPrototypeStartsWith,
  StringPrototypeToLowerCase,
  StringPrototypeToUpperCase,
  TypeError,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeSet,
  Uint8Array,
  WeakMapPrototypeGet,
  WeakMapPrototypeSet,
  uncurryThis,
} = primordials;

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { atob } = core.loadExtScript("ext:deno_web/05_base64.js");
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const loaded = core.loadExtScript("ext:deno_crypto/00_crypto.js");

const { Crypto, CryptoKey, SubtleCrypto } = loaded;
// Made now: what makes them is taken away below.
const { crypto } = loaded;

// One call may derive for hours; production has the same bound on iterations, and the text.
const MOST_ITERATIONS = 100_000;
// Iterations times blocks of output: about a second.
const MOST_ROUNDS = 2_000_000;
const MOST_MODULUS_BITS = 4096;
const LEAST_MODULUS_BITS = 512;
const LEAST_IMPORTED_MODULUS_BITS = 256;
// Argon2 is not on Workers. Memory in KiB, and memory times passes.
const MOST_ARGON2_MEMORY = 64 * 1024;
const MOST_ARGON2_WORK = 4 * MOST_ARGON2_MEMORY;
const MOST_ARGON2_LANES = 16;

// Bytes of the hash and of the block it works on.
const HASHES: Record<string, { bytes: number; blockBits: number }> = {
  __proto__: null,
  "SHA-1": { bytes: 20, blockBits: 512 },
  "SHA-256": { bytes: 32, blockBits: 512 },
  "SHA-384": { bytes: 48, blockBits: 1024 },
  "SHA-512": { bytes: 64, blockBits: 1024 },
} as any;

// The names that are known here, by their upper case.
const NAMES: Record<string, string> = { __proto__: null } as any;
const known = [
  "SHA-1", "SHA-256", "SHA-384", "SHA-512", "AES-GCM", "AES-CBC", "AES-CTR", "AES-KW", "HMAC", "RSASSA-PKCS1-v1_5", "RSA-PSS",
  "RSA-OAEP", "ECDSA", "ECDH", "Ed25519", "X25519", "PBKDF2", "Argon2i", "Argon2d", "Argon2id",
];
for (let i = 0; i < known.length; i++) {
  NAMES[StringPrototypeToUpperCase(known[i])] = known[i];
}

const FIELD_BYTES: Record<string, number> = { __proto__: null, "P-256": 32, "P-384": 48, "P-521": 66 } as any;

const CryptoKeyPrototype = CryptoKey.prototype;
const getter = (name: string) => uncurryThis(ObjectGetOwnPropertyDescriptor(CryptoKeyPrototype, name).get);
const typeOf = getter("type");
const usagesOf = getter("usages");
const algorithmOf = getter("algorithm");

// What only this file may call: it shows keys that are not extractable, and makes keys of anything.
const { exportNodeMaterial, fromCloneData } = CryptoKey;
core.getCloneableDeserializers().CryptoKey = (data: unknown) => fromCloneData(data);
delete CryptoKey.exportNodeMaterial;
delete CryptoKey.fromCloneData;
delete CryptoKey.importSync;
delete Crypto.create;
delete Crypto.registerSymbols;
delete SubtleCrypto.create;

// What the ops hold of a key, once it was used.
const heldKeys = new SafeWeakMap();

function held(key: CryptoKey) {
  let found = WeakMapPrototypeGet(heldKeys, key);
  if (found === undefined) {
    const { type, data } = exportNodeMaterial(key);
    found = op_crypto_hold_key(type, data);
    WeakMapPrototypeSet(heldKeys, key, found);
  }
  return found;
}

// The name of an algorithm as the standard writes it, where it is one of those above.
function nameOf(algorithm: any): string | undefined {
  const name = typeof algorithm === "object" && algorithm !== null ? algorithm.name : algorithm;
  return typeof name === "string" ? canonical(name) : undefined;
}

// Names match without regard to the case of ASCII letters. Upper case alone would also match letters of other alphabets.
function canonical(name: string): string | undefined {
  const known = NAMES[StringPrototypeToUpperCase(name)];
  return known !== undefined && StringPrototypeToLowerCase(known) === StringPrototypeToLowerCase(name) ? known : undefined;
}

// Whether a key is of this kind and may be used for this.
function isFor(key: CryptoKey, type: string, name: string, usage: string): boolean {
  return ObjectPrototypeIsPrototypeOf(CryptoKeyPrototype, key) && typeOf(key) === type && algorithmOf(key).name === name &&
    includes(usagesOf(key), usage);
}

function includes(list: string[], wanted: string): boolean {
  for (let i = 0; i < list.length; i++) {
    if (list[i] === wanted) {
      return true;
    }
  }
  return false;
}

function source(value: unknown, method: string, place: number): ArrayBuffer | ArrayBufferView {
  return webidl.converters.BufferSource(value, `Failed to execute '${method}' on 'SubtleCrypto'`, `Argument ${place}`);
}

function copyOf(value: unknown): Uint8Array {
  return new Uint8Array(bytesOf(value));
}

const error = (name: string) => (message: string) => new DOMException(message, name);
const operationError = error("OperationError");
const dataError = error("DataError");
const notSupported = error("NotSupportedError");

// The invocation that a derivation is charged to; 0 outside of any.
function caller(): number {
  return core.getAsyncContext() ?? 0;
}

interface Scheme {
  name: string;
  hash: string;
  salt: number;
}

// How a signature is made with such a key, where it is one that AWS-LC makes.
function schemeOf(algorithm: any, key: CryptoKey, usage: "sign" | "verify"): Scheme | undefined {
  const name = nameOf(algorithm);
  if (name !== "RSASSA-PKCS1-v1_5" && name !== "RSA-PSS" && name !== "ECDSA" && name !== "HMAC") {
    return undefined;
  }
  const type = name === "HMAC" ? "secret" : usage === "sign" ? "private" : "public";
  if (!isFor(key, type, name, usage)) {
    return undefined;
  }
  const hash = name === "ECDSA" ? nameOf(algorithm.hash) : algorithmOf(key).hash.name;
  if (hash === undefined || HASHES[hash] === undefined) {
    return undefined;
  }
  const salt = name === "RSA-PSS" ? Number(algorithm.saltLength) : 0;
  // Longer than any key can take; what is no number is refused elsewhere.
  return salt >= 0 && salt < 2 ** 16 ? { name, hash, salt: MathTrunc(salt) } : undefined;
}

interface Gcm {
  iv: ArrayBuffer | ArrayBufferView;
  additional: ArrayBuffer | ArrayBufferView;
  tagBits: number;
}

const NOTHING = new Uint8Array(0);

function gcmOf(algorithm: any, method: string): Gcm {
  const field = (name: string, value: unknown) =>
    webidl.converters.BufferSource(value, `Failed to execute '${method}' on 'SubtleCrypto'`, `'${name}' of 'algorithm'`);
  const { iv, additionalData, tagLength } = algorithm;
  if (iv === undefined) {
    throw new TypeError('Missing field "iv" in "algorithm".');
  }
  const gcm = {
    iv: field("iv", iv),
    additional: additionalData === undefined ? NOTHING : field("additionalData", additionalData),
    tagBits: tagLength === undefined ? 128 : MathTrunc(Number(tagLength)) || 0,
  };
  if (TypedArrayPrototypeGetByteLength(bytesOf(gcm.iv)) === 0) {
    throw operationError("AES-GCM IV must not be empty.");
  }
  switch (gcm.tagBits) {
    case 32:
    case 64:
    case 96:
    case 104:
    case 112:
    case 120:
    case 128:
      return gcm;
    default:
      throw operationError(`Invalid AES-GCM tag length ${gcm.tagBits}.`);
  }
}

function seal(gcm: Gcm, key: CryptoKey, plain: ArrayBuffer | ArrayBufferView): ArrayBuffer {
  return op_crypto_seal(held(key), gcm.tagBits, gcm.iv, gcm.additional, plain);
}

function open(gcm: Gcm, key: CryptoKey, sealed: ArrayBuffer | ArrayBufferView): ArrayBuffer {
  const bits = TypedArrayPrototypeGetByteLength(bytesOf(sealed)) * 8;
  if (bits < gcm.tagBits) {
    throw operationError(
      `Ciphertext length of ${bits} bits must be greater than or equal to the size of the AES-GCM tag length of ${gcm.tagBits} bits.`,
    );
  }
  return op_crypto_open(held(key), gcm.tagBits, gcm.iv, gcm.additional, sealed);
}

// What opens data for these parameters with this key, where AWS-LC does it.
function openerOf(algorithm: any, key: CryptoKey, usage: "decrypt" | "unwrapKey") {
  const name = nameOf(algorithm);
  if (name === "AES-GCM" && isFor(key, "secret", name, usage)) {
    const gcm = gcmOf(algorithm, usage);
    return (sealed: ArrayBuffer | ArrayBufferView) => open(gcm, key, sealed);
  }
  if (name === "RSA-OAEP" && isFor(key, "private", name, usage)) {
    const hash = algorithmOf(key).hash.name;
    if (HASHES[hash] === undefined) {
      return undefined;
    }
    const given = typeof algorithm === "object" ? algorithm.label : undefined;
    const label = given === undefined
      ? NOTHING
      : webidl.converters.BufferSource(given, `Failed to execute '${usage}' on 'SubtleCrypto'`, "'label' of 'algorithm'");
    return (sealed: ArrayBuffer | ArrayBufferView) => op_crypto_decrypt_oaep(held(key), hash, label, sealed);
  }
  return undefined;
}

// Parameters of a generation as they were read once: what was checked is what is used.
interface RsaParameters {
  name: string;
  modulusLength: number;
  publicExponent: Uint8Array;
}

// Refuses what would take long or is no RSA key.
function checkRsa({ modulusLength, publicExponent }: RsaParameters): number {
  if (modulusLength < LEAST_MODULUS_BITS || modulusLength > MOST_MODULUS_BITS || modulusLength % 128 !== 0) {
    throw operationError(
      `The modulus length must be a multiple of 128 and between ${LEAST_MODULUS_BITS} and ${MOST_MODULUS_BITS}, ` +
        `but ${modulusLength} was requested.`,
    );
  }
  let exponent = 0;
  for (let i = 0; i < TypedArrayPrototypeGetByteLength(publicExponent); i++) {
    exponent = exponent * 256 + publicExponent[i];
  }
  if (exponent !== 3 && exponent !== 65537) {
    throw operationError(`The "publicExponent" must be either 3 or 65537, but got ${exponent}.`);
  }
  return exponent;
}

const RSA_USAGES: Record<string, { public: string[]; private: string[] }> = {
  __proto__: null,
  "RSASSA-PKCS1-v1_5": { public: ["verify"], private: ["sign"] },
  "RSA-PSS": { public: ["verify"], private: ["sign"] },
  "RSA-OAEP": { public: ["encrypt", "wrapKey"], private: ["decrypt", "unwrapKey"] },
} as any;

// Those of the usages that are in `allowed`, once each.
function only(usages: string[], allowed: string[]): string[] {
  const found: string[] = [];
  for (let i = 0; i < allowed.length; i++) {
    if (includes(usages, allowed[i])) {
      ArrayPrototypePush(found, allowed[i]);
    }
  }
  return found;
}

interface Pbkdf2 {
  hash: string;
  salt: Uint8Array;
  iterations: number;
}

// Parameters of PBKDF2, or undefined where deno_crypto has an error for them.
function pbkdf2Of(algorithm: any, hashGiven: unknown, iterationsGiven: unknown, saltGiven: unknown): Pbkdf2 | undefined {
  const hash = nameOf(hashGiven);
  const iterations = MathTrunc(Number(iterationsGiven));
  if (iterations > MOST_ITERATIONS) {
    throw notSupported(
      `Pbkdf2 failed: iteration counts above ${MOST_ITERATIONS} are not supported (requested ${iterations}).`,
    );
  }
  if (hash === undefined || HASHES[hash] === undefined || !(iterations > 0) || bytesOf(saltGiven) === undefined) {
    return undefined;
  }
  // Copied where it is used, before anything else can run.
  return { hash, salt: bytesOf(saltGiven), iterations };
}

async function derive({ hash, salt, iterations }: Pbkdf2, key: CryptoKey, bits: number): Promise<ArrayBuffer> {
  if (bits % 8 !== 0) {
    throw operationError(`PBKDF2 requires a derived key length that is a multiple of eight (requested ${bits}).`);
  }
  const length = bits / 8;
  const rounds = iterations * MathTrunc((length + HASHES[hash].bytes - 1) / HASHES[hash].bytes);
  if (rounds > MOST_ROUNDS) {
    throw notSupported(
      `Pbkdf2 failed: ${iterations} iterations for ${length} bytes are more than one derivation may take.`,
    );
  }
  return length === 0 ? new ArrayBuffer(0) : await op_crypto_pbkdf2(caller(), held(key), hash, salt, iterations, length);
}

// Bits of the key that is derived, where it is of a kind that is known here.
function keyBits(algorithm: any): number | undefined {
  const name = nameOf(algorithm);
  switch (name) {
    case "AES-GCM":
    case "AES-CBC":
    case "AES-CTR":
    case "AES-KW": {
      const length = Number(algorithm.length);
      return length === 128 || length === 192 || length === 256 ? length : undefined;
    }
    case "HMAC": {
      if (algorithm.length !== undefined) {
        const length = Number(algorithm.length);
        return NumberIsInteger(length) && length > 0 ? length : undefined;
      }
      const hash = nameOf(algorithm.hash);
      return hash === undefined ? undefined : HASHES[hash]?.blockBits;
    }
    default:
      return undefined;
  }
}

// Runs one of deno_crypto's computations that take long when it is its turn.
async function inTurn(run: () => Promise<unknown>): Promise<unknown> {
  const turn = await op_crypto_begin_turn(caller());
  try {
    return await run();
  } finally {
    op_crypto_end_turn(turn);
  }
}

// Parameters of Argon2 that are bounded; what is missing or of the wrong type is left for deno_crypto to refuse.
function argon2Of(name: string, algorithm: any) {
  const { memory, passes, parallelism, nonce, secretValue, associatedData } = algorithm;
  const bounded = { __proto__: null, name, memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism), nonce } as any;
  if (secretValue !== undefined) {
    bounded.secretValue = secretValue;
  }
  if (associatedData !== undefined) {
    bounded.associatedData = associatedData;
  }
  if (
    bounded.memory > MOST_ARGON2_MEMORY || bounded.memory * bounded.passes > MOST_ARGON2_WORK ||
    bounded.parallelism > MOST_ARGON2_LANES
  ) {
    throw notSupported(
      `Argon2 failed: more than ${MOST_ARGON2_MEMORY} KiB of memory, ${MOST_ARGON2_WORK} KiB over all passes, or ` +
        `${MOST_ARGON2_LANES} lanes are not supported.`,
    );
  }
  return bounded;
}

function isSlhDsa(algorithm: any): boolean {
  const name = typeof algorithm === "object" && algorithm !== null ? algorithm.name : algorithm;
  return typeof name === "string" && StringPrototypeStartsWith(StringPrototypeToUpperCase(name), "SLH-DSA-");
}

// The name of a hash as the standard writes it, where RSA and HMAC keys may have it.
function hashOf(hash: unknown): string {
  const known = nameOf(hash);
  if (known !== undefined && HASHES[known] !== undefined) {
    return known;
  }
  const given: any = typeof hash === "object" && hash !== null ? (hash as any).name : hash;
  const upper = typeof given === "string" ? StringPrototypeToUpperCase(given) : "";
  if (upper === "SHA3-256" || upper === "SHA3-384" || upper === "SHA3-512") {
    return upper;
  }
  throw notSupported(`Unrecognized hash algorithm: ${String(given)}`);
}

// The algorithm of a key with the name of its hash as the standard writes it; deno_crypto keeps what it is given, whatever that is.
function withHash(algorithm: any) {
  const name = nameOf(algorithm);
  if (name === undefined || typeof algorithm !== "object" || (name !== "HMAC" && RSA_USAGES[name] === undefined)) {
    return algorithm;
  }
  const { hash, length } = algorithm;
  if (hash === undefined) {
    return algorithm;
  }
  const read: any = { __proto__: null, name, hash: hashOf(hash) };
  if (length !== undefined) {
    read.length = length;
  }
  return read;
}

// The bytes of a member of a JSON Web Key, or undefined where it is no base64url text for so many.
function base64UrlOf(text: unknown, length: number): Uint8Array | undefined {
  if (typeof text !== "string") {
    return undefined;
  }
  try {
    const binary = atob(StringPrototypeReplaceAll(StringPrototypeReplaceAll(text, "-", "+"), "_", "/"));
    if (binary.length !== length) {
      return undefined;
    }
    const bytes = new Uint8Array(length);
    for (let i = 0; i < binary.length; i++) {
      bytes[i] = StringPrototypeCharCodeAt(binary, i);
    }
    return bytes;
  } catch {
    return undefined;
  }
}

// Refuses private JSON Web Keys whose parts are missing or do not belong together, which deno_crypto takes.
function checkJwk(name: string, jwk: any) {
  if (typeof jwk !== "object" || jwk === null || typeof jwk.d !== "string") {
    return;
  }
  if (name === "Ed25519" || name === "X25519") {
    if (base64UrlOf(jwk.x, 32) === undefined) {
      throw dataError(`Invalid ${name} key in JSON WebKey; missing or invalid public key component ("x").`);
    }
  }
  if (name === "ECDSA" || name === "ECDH") {
    const size = FIELD_BYTES[jwk.crv];
    const d = base64UrlOf(jwk.d, size);
    const x = base64UrlOf(jwk.x, size);
    const y = base64UrlOf(jwk.y, size);
    if (d === undefined || x === undefined || y === undefined) {
      throw dataError("Invalid EC key in JSON Web Key.");
    }
    const point = new Uint8Array(1 + 2 * size);
    point[0] = 4;
    TypedArrayPrototypeSet(point, x, 1);
    TypedArrayPrototypeSet(point, y, 1 + size);
    if (!op_crypto_is_ec_pair(jwk.crv, d, point)) {
      throw dataError("Invalid EC key in JSON Web Key.");
    }
  }
}

// Refuses RSA and EC keys whose numbers do not belong together: deno_crypto would fail, or sign with them, at their first use.
function checkNumbers(key: CryptoKey) {
  const { name, modulusLength } = algorithmOf(key);
  if (modulusLength < LEAST_IMPORTED_MODULUS_BITS) {
    throw dataError(`Invalid RSA key: its modulus has ${modulusLength} bits.`);
  }
  try {
    held(key);
  } catch {
    throw dataError(`Invalid ${RSA_USAGES[name] === undefined ? "EC" : "RSA"} key.`);
  }
}

const prototype = SubtleCrypto.prototype;
const deno: Record<string, (...given: unknown[]) => Promise<any>> = { __proto__: null } as any;

// What deno_crypto copies for its threads counts as the worker's memory.
core.loadExtScript("ext:aerostack/platform/counted_arguments.ts").countArguments(prototype);

// Arguments that are missing are deno_crypto's to refuse: it is given as many as there were.
const methods = {
  async digest(algorithm: any, data: unknown) {
    const hash = nameOf(algorithm);
    if (arguments.length < 2 || hash === undefined || HASHES[hash] === undefined) {
      return await FunctionPrototypeApply(deno.digest, this, arguments);
    }
    webidl.assertBranded(this, prototype);
    return op_crypto_digest(hash, source(data, "digest", 2));
  },

  async encrypt(algorithm: any, key: CryptoKey, data: unknown) {
    if (arguments.length < 3 || nameOf(algorithm) !== "AES-GCM" || !isFor(key, "secret", "AES-GCM", "encrypt")) {
      return await FunctionPrototypeApply(deno.encrypt, this, arguments);
    }
    webidl.assertBranded(this, prototype);
    return seal(gcmOf(algorithm, "encrypt"), key, source(data, "encrypt", 3));
  },

  async decrypt(algorithm: any, key: CryptoKey, data: unknown) {
    const opener = arguments.length < 3 ? undefined : openerOf(algorithm, key, "decrypt");
    if (opener === undefined) {
      return await FunctionPrototypeApply(deno.decrypt, this, arguments);
    }
    webidl.assertBranded(this, prototype);
    return opener(source(data, "decrypt", 3));
  },

  async sign(algorithm: any, key: CryptoKey, data: unknown) {
    const scheme = arguments.length < 3 ? undefined : schemeOf(algorithm, key, "sign");
    if (scheme !== undefined) {
      webidl.assertBranded(this, prototype);
      return op_crypto_sign(held(key), scheme.name, scheme.hash, scheme.salt, source(data, "sign", 3));
    }
    const given = arguments;
    const run = () => FunctionPrototypeApply(deno.sign, this, given);
    return await (isSlhDsa(algorithm) ? inTurn(run) : run());
  },

  async verify(algorithm: any, key: CryptoKey, signature: unknown, data: unknown) {
    const scheme = arguments.length < 4 ? undefined : schemeOf(algorithm, key, "verify");
    if (scheme === undefined) {
      return await FunctionPrototypeApply(deno.verify, this, arguments);
    }
    webidl.assertBranded(this, prototype);
    const bytes = source(signature, "verify", 3);
    return op_crypto_verify(held(key), scheme.name, scheme.hash, scheme.salt, bytes, source(data, "verify", 4));
  },

  async generateKey(algorithm: any, extractable: any, usages: any) {
    const name = nameOf(algorithm);
    const allowed = name === undefined ? undefined : RSA_USAGES[name];
    if (allowed === undefined || arguments.length < 3 || typeof algorithm !== "object") {
      const given = arguments.length < 3 ? arguments : [withHash(algorithm), extractable, usages];
      const run = () => FunctionPrototypeApply(deno.generateKey, this, given);
      return await (isSlhDsa(algorithm) ? inTurn(run) : run());
    }
    webidl.assertBranded(this, prototype);
    const { modulusLength, publicExponent, hash } = algorithm;
    if (hash === undefined) {
      throw new TypeError('Missing field "hash" in "algorithm".');
    }
    const knownHash = hashOf(hash);
    const exponentBytes = bytesOf(publicExponent);
    const parameters: RsaParameters = {
      name: name!,
      modulusLength: MathTrunc(Number(modulusLength)),
      publicExponent: exponentBytes === undefined ? NOTHING : copyOf(publicExponent),
    };
    const wanted: string[] = webidl.converters["sequence<DOMString>"](
      usages,
      "Failed to execute 'generateKey' on 'SubtleCrypto'",
      "Argument 3",
    );
    const exponent = checkRsa(parameters);
    const forPrivate = only(wanted, allowed.private);
    const forPublic = only(wanted, allowed.public);
    for (let i = 0; i < wanted.length; i++) {
      if (!includes(allowed.private, wanted[i]) && !includes(allowed.public, wanted[i])) {
        throw new DOMException("Invalid key usage", "SyntaxError");
      }
    }
    if (forPrivate.length === 0) {
      throw new DOMException("Invalid key usage", "SyntaxError");
    }
    const { 0: pkcs8, 1: spki } = await op_crypto_generate_rsa(caller(), parameters.modulusLength, exponent);
    const imported = { __proto__: null, name, hash: knownHash };
    return {
      publicKey: await FunctionPrototypeApply(deno.importKey, this, ["spki", spki, imported, true, forPublic]),
      privateKey: await FunctionPrototypeApply(deno.importKey, this, ["pkcs8", pkcs8, imported, extractable, forPrivate]),
    };
  },

  async deriveBits(algorithm: any, key: CryptoKey, length: any = undefined) {
    const name = nameOf(algorithm);
    if (name === "PBKDF2" && typeof algorithm === "object") {
      const { hash, iterations, salt } = algorithm;
      const pbkdf2 = pbkdf2Of(algorithm, hash, iterations, salt);
      const bits = Number(length);
      const isKnown = pbkdf2 !== undefined && length !== null && length !== undefined && NumberIsInteger(bits) && bits >= 0 &&
        isFor(key, "secret", "PBKDF2", "deriveBits");
      if (isKnown) {
        webidl.assertBranded(this, prototype);
        return await derive(pbkdf2, key, bits);
      }
      // Whatever is wrong with it, it derives nothing for long.
      const read = { __proto__: null, name, hash, salt, iterations: pbkdf2?.iterations ?? iterations };
      return await FunctionPrototypeApply(deno.deriveBits, this, [read, key, length]);
    }
    if (name !== undefined && isArgon2(name) && typeof algorithm === "object") {
      const bounded = argon2Of(name, algorithm);
      return await inTurn(() => FunctionPrototypeApply(deno.deriveBits, this, [bounded, key, length]));
    }
    return await FunctionPrototypeApply(deno.deriveBits, this, [algorithm, key, length]);
  },

  async deriveKey(algorithm: any, key: CryptoKey, derived: any, extractable: any, usages: any) {
    const name = nameOf(algorithm);
    if (arguments.length < 5 || name === undefined || typeof algorithm !== "object") {
      return await FunctionPrototypeApply(deno.deriveKey, this, arguments);
    }
    if (name === "PBKDF2") {
      const { hash, iterations, salt } = algorithm;
      const pbkdf2 = pbkdf2Of(algorithm, hash, iterations, salt);
      const bits = keyBits(derived);
      if (pbkdf2 !== undefined && bits !== undefined && isFor(key, "secret", "PBKDF2", "deriveKey")) {
        webidl.assertBranded(this, prototype);
        const bytes = await derive(pbkdf2, key, bits);
        return await FunctionPrototypeApply(deno.importKey, this, ["raw", bytes, withHash(derived), extractable, usages]);
      }
      const read = { __proto__: null, name, hash, salt, iterations: pbkdf2?.iterations ?? iterations };
      return await inTurn(() => FunctionPrototypeApply(deno.deriveKey, this, [read, key, derived, extractable, usages]));
    }
    if (isArgon2(name)) {
      const bounded = argon2Of(name, algorithm);
      return await inTurn(() => FunctionPrototypeApply(deno.deriveKey, this, [bounded, key, derived, extractable, usages]));
    }
    return await FunctionPrototypeApply(deno.deriveKey, this, arguments);
  },

  async importKey(format: any, keyData: any, algorithm: any, extractable: any, usages: any) {
    if (arguments.length < 4) {
      return await FunctionPrototypeApply(deno.importKey, this, arguments);
    }
    const key = await FunctionPrototypeApply(deno.importKey, this, [format, keyData, withHash(algorithm), extractable, usages]);
    const { name } = algorithmOf(key);
    if (format === "jwk") {
      checkJwk(name, keyData);
    }
    if (RSA_USAGES[name] !== undefined || name === "ECDSA" || name === "ECDH") {
      checkNumbers(key);
    }
    return key;
  },

  async wrapKey(format: any, key: CryptoKey, wrappingKey: CryptoKey, wrapAlgorithm: any) {
    if (
      arguments.length < 4 || nameOf(wrapAlgorithm) !== "AES-GCM" || !isFor(wrappingKey, "secret", "AES-GCM", "wrapKey")
    ) {
      return await FunctionPrototypeApply(deno.wrapKey, this, arguments);
    }
    const gcm = gcmOf(wrapAlgorithm, "wrapKey");
    const exported = await FunctionPrototypeApply(deno.exportKey, this, [format, key]);
    return seal(gcm, wrappingKey, format === "jwk" ? core.encode(JSONStringify(exported)) : exported);
  },

  async unwrapKey(
    format: any,
    wrapped: unknown,
    unwrappingKey: CryptoKey,
    unwrapAlgorithm: any,
    keyAlgorithm: any,
    extractable: any,
    usages: any,
  ) {
    const opener = arguments.length < 7 ? undefined : openerOf(unwrapAlgorithm, unwrappingKey, "unwrapKey");
    if (opener === undefined) {
      return await FunctionPrototypeApply(deno.unwrapKey, this, arguments);
    }
    const bytes = opener(source(wrapped, "unwrapKey", 2));
    let keyData: unknown = bytes;
    if (format === "jwk") {
      try {
        keyData = JSONParse(core.decode(new Uint8Array(bytes)));
      } catch {
        throw dataError("The unwrapped key is not a JSON Web Key.");
      }
    }
    return await FunctionPrototypeApply(methods.importKey, this, [format, keyData, keyAlgorithm, extractable, usages]);
  },
};

function isArgon2(name: string): boolean {
  return name === "Argon2i" || name === "Argon2d" || name === "Argon2id";
}

deno.exportKey = prototype.exportKey;
const replaced = [
  "digest", "encrypt", "decrypt", "sign", "verify", "generateKey", "deriveBits", "deriveKey", "importKey", "wrapKey", "unwrapKey",
] as const;
for (let i = 0; i < replaced.length; i++) {
  const name = replaced[i];
  const { value, ...attributes } = ObjectGetOwnPropertyDescriptor(prototype, name);
  deno[name] = value;
  const method = methods[name];
  ObjectDefineProperty(method, "length", { __proto__: null, value: value.length, configurable: true });
  ObjectDefineProperty(prototype, name, { __proto__: null, ...attributes, value: method });
}

refuseClones(Crypto, SubtleCrypto);

return { Crypto, CryptoKey, SubtleCrypto, crypto };
})();
