// The objects behind `env.CACHE`: Workers KV, as the Cloudflare contract (section 2) describes it.
//
// Here are the overloads, the coercions of arguments and the TypeErrors; sizes, lifetimes and the texts of `KV ... failed`
// are on the Rust side. The two calls that matter most, `get(key)` and `put(key, text)`, are one op each.

(function () {
const { core, primordials } = __bootstrap;
const {
  op_cache_check_cache_ttl,
  op_cache_check_value_length,
  op_cache_delete,
  op_cache_get,
  op_cache_get_bytes,
  op_cache_get_entry,
  op_cache_get_many,
  op_cache_list,
  op_cache_put_bytes,
  op_cache_put_text,
} = core.ops;
const {
  ArrayBufferPrototypeGetByteLength,
  ArrayIsArray,
  ArrayPrototypePush,
  Error,
  JSONParse,
  JSONStringify,
  Map,
  MapPrototypeSet,
  ObjectDefineProperty,
  PromiseReject,
  Symbol,
  SymbolToStringTag,
  TypeError,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeSet,
  Uint8Array,
  uncurryThis,
} = primordials;
const { checkOptions, requireArgument, toInteger } = core.loadExtScript("ext:aerostack/platform/arguments.ts");
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const { copyBytes, ignoreFailure } = core.loadExtScript("ext:aerostack/platform/plain.ts");

const MAX_VALUE_BYTES = 26214400;

// How `bindings/cache/src/ops.rs` numbers the kinds of expiry.
const EXPIRES_NEVER = 0;
const EXPIRES_AFTER = 1;
const EXPIRES_AT = 2;

const NOT_A_VALUE = "KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.";
const UNKNOWN_TYPE = 'Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".';

const construct = Symbol("construct");

// How messages name the methods.
const GET = { name: "get", of: "KvNamespace" };
const GET_WITH_METADATA = { name: "getWithMetadata", of: "KvNamespace" };
const PUT = { name: "put", of: "KvNamespace" };
const LIST = { name: "list", of: "KvNamespace" };
const DELETE = { name: "delete", of: "KvNamespace" };

const streams = core.loadExtScript("ext:deno_web/06_streams.js");
const { noteLength } = core.loadExtScript("ext:aerostack/platform/body_streams.ts");
// Taken before user code can put another in its place.
const readOfReader = uncurryThis(streams.ReadableStreamDefaultReader.prototype.read);

// Strings are what nearly every caller passes; anything else is coerced, as KV does it.
const toText = (value: unknown): string => typeof value === "string" ? value : `${value}`;

function toKey(key: unknown): string {
  const name = toText(key);
  const problem = problemOfKey(name);
  if (problem !== undefined) {
    throw new TypeError(problem);
  }
  return name;
}

function problemOfKey(key: string): string | undefined {
  switch (key) {
    case "":
      return "Key name cannot be empty.";
    case ".":
      return '"." is not allowed as a key name.';
    case "..":
      return '".." is not allowed as a key name.';
    default:
      return undefined;
  }
}

const toOptionalText = (value: unknown): string => value === undefined || value === null ? "" : toText(value);

// What get() was asked for: the name of a type, or options. Where none is named it is text.
function readType(options: any, isBulk: boolean): string {
  const fallback = isBulk ? "" : "text";
  if (options === undefined || options === null) {
    return fallback;
  }
  if (typeof options !== "object" && typeof options !== "function") {
    return toText(options);
  }
  const { type, cacheTtl } = options;
  if (cacheTtl !== undefined) {
    op_cache_check_cache_ttl(isBulk, toInteger(cacheTtl));
  }
  return type === undefined ? fallback : toText(type);
}

const parseOrNull = (text: string | null) => text === null ? null : JSONParse(text);

async function getOne(cache: number, key: unknown, options: unknown) {
  const name = toKey(key);
  switch (readType(options, false)) {
    case "text":
      return await op_cache_get(cache, name);
    case "json":
      return parseOrNull(await op_cache_get(cache, name));
    case "arrayBuffer":
      return await op_cache_get_bytes(cache, name);
    case "stream": {
      const bytes = await op_cache_get_bytes(cache, name);
      return bytes === null ? null : streamOf(bytes);
    }
    default:
      // KV looks at the type only once there is a value.
      if (await op_cache_get_bytes(cache, name) === null) {
        return null;
      }
      throw new TypeError(UNKNOWN_TYPE);
  }
}

async function getOneWithMetadata(cache: number, key: unknown, options: unknown) {
  const name = toKey(key);
  const type = readType(options, false);
  const isText = type === "text" || type === "json";
  const entry = await op_cache_get_entry(cache, name, isText);
  if (entry === null) {
    return { value: null, metadata: null, cacheStatus: null };
  }
  let value = entry[0];
  if (type === "json") {
    value = JSONParse(value);
  } else if (type === "stream") {
    value = streamOf(value);
  } else if (!isText && type !== "arrayBuffer") {
    throw new TypeError(UNKNOWN_TYPE);
  }
  return { value, metadata: parseOrNull(entry[1]), cacheStatus: null };
}

// The values and metadata of several keys, as `visit(key, value, metadata)` in the order of the keys.
async function getMany(
  cache: number,
  keys: unknown[],
  options: unknown,
  visit: (key: string, value: unknown, metadata: unknown) => void,
) {
  const names: string[] = [];
  for (let place = 0; place < keys.length; place++) {
    ArrayPrototypePush(names, toText(keys[place]));
  }
  const type = readType(options, true);
  const found = await op_cache_get_many(cache, names, type);
  for (let place = 0; place < names.length; place++) {
    let value = found[2 * place];
    if (type === "json") {
      try {
        value = parseOrNull(value);
      } catch {
        throw new Error(
          "KV GET_BULK failed: 400 At least one of the requested keys corresponds to a non-json value",
        );
      }
    }
    visit(names[place], value, parseOrNull(found[2 * place + 1]));
  }
}

async function getManyValues(cache: number, keys: unknown[], options: unknown) {
  const values = new Map();
  await getMany(cache, keys, options, (key, value) => MapPrototypeSet(values, key, value));
  return values;
}

async function getManyWithMetadata(cache: number, keys: unknown[], options: unknown) {
  const values = new Map();
  await getMany(cache, keys, options, (key, value, metadata) => {
    MapPrototypeSet(values, key, value === null ? null : { value, metadata });
  });
  return values;
}

function streamOf(bytes: ArrayBuffer): ReadableStream {
  const { ReadableStream, readableByteStreamControllerClose, readableByteStreamControllerEnqueue } = streams;
  // Before the stream takes the memory over.
  const length = ArrayBufferPrototypeGetByteLength(bytes);
  const stream = new ReadableStream({
    __proto__: null,
    type: "bytes",
    start(controller: unknown) {
      if (length > 0) {
        readableByteStreamControllerEnqueue(controller, new Uint8Array(bytes));
      }
      readableByteStreamControllerClose(controller);
    },
  });
  noteLength(stream, length);
  return stream;
}

async function collect(stream: unknown): Promise<Uint8Array> {
  const { acquireReadableStreamDefaultReader, isReadableStreamLocked, readableStreamReaderGenericCancel } = streams;
  if (isReadableStreamLocked(stream)) {
    throw new TypeError("This ReadableStream is currently locked to a reader.");
  }
  const reader = acquireReadableStreamDefaultReader(stream);
  let chunks: Uint8Array[] = [];
  let length = 0;
  for (let read = await readOfReader(reader); !read.done; read = await readOfReader(reader)) {
    const bytes = bytesOf(read.value);
    if (bytes === undefined) {
      const error = new TypeError("This ReadableStream did not return bytes.");
      ignoreFailure(readableStreamReaderGenericCancel(reader, error));
      throw error;
    }
    length += TypedArrayPrototypeGetByteLength(bytes);
    if (length <= MAX_VALUE_BYTES) {
      // The writer of the stream may use its memory again.
      ArrayPrototypePush(chunks, copyBytes(bytes));
    } else {
      // The error tells how long the stream was, so it is read to its end, but no longer kept.
      chunks = [];
    }
  }
  op_cache_check_value_length(length);
  if (chunks.length === 1) {
    return chunks[0];
  }
  const whole = new Uint8Array(length);
  let position = 0;
  for (let place = 0; place < chunks.length; place++) {
    TypedArrayPrototypeSet(whole, chunks[place], position);
    position += TypedArrayPrototypeGetByteLength(chunks[place]);
  }
  return whole;
}

async function putOne(cache: number, key: unknown, value: any, options: any) {
  checkOptions(options, 3, PUT, "PutOptions");
  const name = toKey(key);
  let kind = EXPIRES_NEVER;
  let expiry = 0;
  let metadata = "";
  if (options !== undefined && options !== null) {
    const given = options.metadata;
    if (options.expiration !== undefined) {
      kind = EXPIRES_AT;
      expiry = toInteger(options.expiration);
    }
    if (options.expirationTtl !== undefined) {
      kind = EXPIRES_AFTER;
      expiry = toInteger(options.expirationTtl);
    }
    if (given !== undefined && given !== null) {
      // JSON has no text for functions and symbols.
      metadata = JSONStringify(given) ?? "";
    }
  }
  if (typeof value !== "function" && (typeof value !== "object" || value === null)) {
    await op_cache_put_text(cache, name, toText(value), kind, expiry, metadata);
    return;
  }
  const bytes = bytesOf(value);
  if (bytes !== undefined) {
    await op_cache_put_bytes(cache, name, bytes, kind, expiry, metadata);
    return;
  }
  if (!streams.isReadableStream(value)) {
    throw new TypeError(NOT_A_VALUE);
  }
  await op_cache_put_bytes(cache, name, await collect(value), kind, expiry, metadata);
}

async function refusePut(count: number) {
  requireArgument(count, 1, PUT, "string");
  requireArgument(count, 2, PUT, "string or JsObject");
}

// What a key does not have, its object does not have either. Literals, because an assignment could meet a user's setter.
function listedKey(name: string, expiration: number | null, json: string | null) {
  if (json === null) {
    return expiration === null ? { name } : { name, expiration };
  }
  const metadata = JSONParse(json);
  return expiration === null ? { name, metadata } : { name, expiration, metadata };
}

async function listKeys(cache: number, options: any) {
  let prefix = "";
  let limit = 0;
  let cursor = "";
  checkOptions(options, 1, LIST, "ListOptions");
  if (options !== undefined && options !== null) {
    prefix = toOptionalText(options.prefix);
    cursor = toOptionalText(options.cursor);
    limit = options.limit === undefined ? 0 : toInteger(options.limit);
  }
  const page = await op_cache_list(cache, prefix, limit, cursor);
  const keys: unknown[] = [];
  for (let place = 1; place < page.length; place += 3) {
    ArrayPrototypePush(keys, listedKey(page[place], page[place + 1], page[place + 2]));
  }
  return page[0] === null
    ? { keys, list_complete: true, cacheStatus: null }
    : { keys, list_complete: false, cursor: page[0], cacheStatus: null };
}

class KvNamespace {
  #cache: number;

  constructor(key: symbol, cache: number) {
    if (key !== construct) {
      throw new TypeError("Illegal constructor");
    }
    this.#cache = cache;
  }

  get(key: any, options?: unknown) {
    const cache = this.#cache;
    if (typeof key === "string" && (options === undefined || options === "text")) {
      const problem = problemOfKey(key);
      return problem === undefined ? op_cache_get(cache, key) : PromiseReject(new TypeError(problem));
    }
    if (ArrayIsArray(key)) return getManyValues(cache, key, options);
    requireArgument(arguments.length, 1, GET, "string or Array");
    return getOne(cache, key, options);
  }

  getWithMetadata(key: any, options?: unknown) {
    const cache = this.#cache;
    requireArgument(arguments.length, 1, GET_WITH_METADATA, "Array or string");
    return ArrayIsArray(key)
      ? getManyWithMetadata(cache, key, options)
      : getOneWithMetadata(cache, key, options);
  }

  put(key: unknown, value: unknown, options?: unknown) {
    return arguments.length < 2 ? refusePut(arguments.length) : putOne(this.#cache, key, value, options);
  }

  list(options?: unknown) {
    return listKeys(this.#cache, options);
  }

  async delete(key: unknown) {
    requireArgument(arguments.length, 1, DELETE, "string");
    await op_cache_delete(this.#cache, toKey(key));
  }
}

ObjectDefineProperty(KvNamespace.prototype, SymbolToStringTag, {
  __proto__: null,
  value: "KvNamespace",
  configurable: true,
});

const createCache = (index: number) => new KvNamespace(construct, index);

refuseClones(KvNamespace);

return { createCache };
})();
