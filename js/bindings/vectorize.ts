// The objects behind `env.VECTORIZE`: a Vectorize V2 index, as the Cloudflare contract (section 5) describes it.
//
// Here are the shapes of arguments and results and the check of `returnMetadata`; limits, filters and the texts of
// `VECTOR_..._ERROR` are on the Rust side. Vectors cross as Float32Arrays.

(function () {
const { core, primordials } = __bootstrap;
const {
  op_vectorize_delete,
  op_vectorize_describe,
  op_vectorize_get,
  op_vectorize_insert,
  op_vectorize_query,
  op_vectorize_query_by_id,
  op_vectorize_upsert,
} = core.ops;
const {
  ArrayBufferIsView,
  ArrayIsArray,
  ArrayPrototypePush,
  Date,
  DatePrototypeToISOString,
  Error,
  Float32Array,
  JSONParse,
  JSONStringify,
  Number,
  String,
  StringPrototypeIndexOf,
  StringPrototypeSlice,
  Symbol,
  TypeError,
  TypedArrayPrototypeGetLength,
  TypedArrayPrototypeGetSymbolToStringTag,
} = primordials;
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");

// How `bindings/vectorize/src/ops.rs` reads the options of a query.
const RETURN_VALUES = 1;
const RETURN_METADATA_INDEXED = 2;
const RETURN_METADATA_ALL = 4;
const HAS_TOP_K = 8;
const HAS_NAMESPACE = 16;

const NOT_A_NUMBER = 0 / 0;

const construct = Symbol("construct");

// An error of the Rust side, made here so that its stack leads to the caller. The frame ends with the first colon.
function framed(message: string) {
  const text = StringPrototypeSlice(message, StringPrototypeIndexOf(message, ": ") + 2);
  return new Error(message, { cause: new Error(text) });
}

async function call(promise: Promise<unknown>): Promise<any> {
  try {
    return await promise;
  } catch (error) {
    throw framed((error as Error).message);
  }
}

// A Float32Array of the components, or undefined where they are none. What is not a number becomes NaN, which the Rust
// side refuses with its place.
function toComponents(values: any): Float32Array | undefined {
  if (ArrayIsArray(values)) {
    const { length } = values;
    const components = new Float32Array(length);
    for (let place = 0; place < length; place++) {
      const value = values[place];
      components[place] = typeof value === "number" ? value : NOT_A_NUMBER;
    }
    return components;
  }
  if (!ArrayBufferIsView(values)) {
    return undefined;
  }
  switch (TypedArrayPrototypeGetSymbolToStringTag(values)) {
    case "Float32Array":
      return values as Float32Array;
    case undefined:
    case "BigInt64Array":
    case "BigUint64Array":
      return undefined;
    default:
      return new Float32Array(values as unknown as ArrayLike<number>);
  }
}

// [id, components, namespace, metadata, id, ...]
function toFlat(vectors: any, operation: string) {
  const refuse = (text: string) =>
    framed(`VECTOR_${operation === "insert" ? "INSERT" : "UPSERT"}_ERROR (code = 40023): failed to parse ${operation} vectors request: ${text}`);
  if (!ArrayIsArray(vectors)) {
    throw new TypeError(`${operation}() takes an array of vectors`);
  }
  const flat: unknown[] = [];
  for (let place = 0; place < vectors.length; place++) {
    const vector = vectors[place];
    if (typeof vector !== "object" || vector === null) {
      throw refuse(`vector ${place} is not an object`);
    }
    const { id, values, namespace, metadata } = vector;
    if (typeof id !== "string") {
      throw refuse(`the id of vector ${place} is not a string`);
    }
    const components = toComponents(values);
    if (components === undefined) {
      throw refuse(`the values of id=${JSONStringify(id)} are not an array of numbers`);
    }
    if (namespace !== undefined && namespace !== null && typeof namespace !== "string") {
      throw refuse(`the namespace of id=${JSONStringify(id)} is not a string`);
    }
    // JSON has no text for functions and symbols.
    const json = metadata === undefined || metadata === null ? undefined : JSONStringify(metadata);
    ArrayPrototypePush(flat, id, components, namespace ?? null, json ?? null);
  }
  return flat;
}

function toIds(ids: any, method: string): string[] {
  if (!ArrayIsArray(ids)) {
    throw new TypeError(`${method}() takes an array of ids`);
  }
  const texts: string[] = [];
  for (let place = 0; place < ids.length; place++) {
    ArrayPrototypePush(texts, String(ids[place]));
  }
  return texts;
}

function metadataFlag(level: unknown): number {
  // Whatever is false asks for none.
  if (!level) {
    return 0;
  }
  switch (level) {
    case true:
    case "all":
      return RETURN_METADATA_ALL;
    case "indexed":
      return RETURN_METADATA_INDEXED;
    case "none":
      return 0;
    default:
      throw new Error(
        `Invalid returnMetadata option. Expected: true, false, "none", "indexed" or "all"; got: ${level}`,
      );
  }
}

// The options of a query as the last four arguments of its op.
function readOptions(options: any) {
  if (options === undefined || options === null) {
    return { flags: 0, topK: 0, namespace: "", filter: "" };
  }
  let flags = metadataFlag(options.returnMetadata);
  let topK = 0;
  let namespace = "";
  if (options.returnValues) {
    flags |= RETURN_VALUES;
  }
  if (options.topK !== undefined && options.topK !== null) {
    flags |= HAS_TOP_K;
    topK = Number(options.topK);
  }
  if (options.namespace !== undefined && options.namespace !== null) {
    flags |= HAS_NAMESPACE;
    namespace = String(options.namespace);
  }
  // JSON has no text for functions and symbols, and then the Rust side says that this is no filter.
  const filter = options.filter === undefined || options.filter === null ? "" : JSONStringify(options.filter) ?? "null";
  return { flags, topK, namespace, filter };
}

// A part of a Float32Array as the plain array that JSON would have been.
function toNumbers(components: Float32Array, start: number, count: number): number[] {
  const numbers: number[] = [];
  for (let place = start; place < start + count; place++) {
    ArrayPrototypePush(numbers, components[place]);
  }
  return numbers;
}

// What a vector does not have, its object does not have either.
function toMatches(flat: any[]) {
  const components = flat[0];
  const count = (flat.length - 1) / 4;
  const dimensions = components === null || count === 0 ? 0 : TypedArrayPrototypeGetLength(components) / count;
  const matches: unknown[] = [];
  for (let place = 0; place < count; place++) {
    const start = 1 + 4 * place;
    const match: Record<string, unknown> = { __proto__: null, id: flat[start], score: flat[start + 1] };
    if (components !== null) {
      match.values = toNumbers(components, place * dimensions, dimensions);
    }
    if (flat[start + 3] !== null) {
      match.metadata = JSONParse(flat[start + 3]);
    }
    if (flat[start + 2] !== null) {
      match.namespace = flat[start + 2];
    }
    // The spread makes an ordinary object, without meeting a setter that a user has put on its prototype.
    ArrayPrototypePush(matches, { ...match });
  }
  return { count, matches };
}

function toVectors(flat: any[]) {
  const components = flat[0];
  const count = (flat.length - 1) / 3;
  const dimensions = count === 0 ? 0 : TypedArrayPrototypeGetLength(components) / count;
  const vectors: unknown[] = [];
  for (let place = 0; place < count; place++) {
    const start = 1 + 3 * place;
    const vector: Record<string, unknown> = {
      __proto__: null,
      id: flat[start],
      values: toNumbers(components, place * dimensions, dimensions),
    };
    if (flat[start + 2] !== null) {
      vector.metadata = JSONParse(flat[start + 2]);
    }
    if (flat[start + 1] !== null) {
      vector.namespace = flat[start + 1];
    }
    ArrayPrototypePush(vectors, { ...vector });
  }
  return vectors;
}

class VectorizeIndexImpl {
  #index: number;

  constructor(key: symbol, index: number) {
    if (key !== construct) {
      throw new TypeError("Illegal constructor");
    }
    this.#index = index;
  }

  async describe() {
    const described = await call(op_vectorize_describe(this.#index));
    const ms = described[2];
    return {
      vectorCount: described[0],
      dimensions: described[1],
      processedUpToDatetime: ms === null ? null : DatePrototypeToISOString(new Date(ms)),
      processedUpToMutation: described[3],
    };
  }

  async query(vector: unknown, options?: unknown) {
    const { flags, topK, namespace, filter } = readOptions(options);
    const components = toComponents(vector);
    if (components === undefined) {
      throw framed("VECTOR_QUERY_ERROR (code = 40026): failed to parse query request: the vector is not an array of numbers");
    }
    return toMatches(await call(op_vectorize_query(this.#index, components, flags, topK, namespace, filter)));
  }

  async queryById(id: unknown, options?: unknown) {
    const { flags, topK, namespace, filter } = readOptions(options);
    return toMatches(await call(op_vectorize_query_by_id(this.#index, String(id), flags, topK, namespace, filter)));
  }

  async insert(vectors: unknown) {
    return { mutationId: await call(op_vectorize_insert(this.#index, toFlat(vectors, "insert"))) };
  }

  async upsert(vectors: unknown) {
    return { mutationId: await call(op_vectorize_upsert(this.#index, toFlat(vectors, "upsert"))) };
  }

  async getByIds(ids: unknown) {
    return toVectors(await call(op_vectorize_get(this.#index, toIds(ids, "getByIds"))));
  }

  async deleteByIds(ids: unknown) {
    return { mutationId: await call(op_vectorize_delete(this.#index, toIds(ids, "deleteByIds"))) };
  }
}

const createVectorize = (index: number) => new VectorizeIndexImpl(construct, index);

refuseClones(VectorizeIndexImpl);

return { createVectorize };
})();
