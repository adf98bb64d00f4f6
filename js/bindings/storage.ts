// The objects behind `env.STORAGE`: an R2 bucket, as the Cloudflare contract (section 4) describes it.
//
// Here are the overloads, the coercions of arguments and the TypeErrors; keys, sizes, conditions and the texts with a number are
// on the Rust side. Bytes pass through here only where JavaScript made them: what has a resource behind it (the body of a request
// or of another object) goes to the bucket without.

(function () {
const { core, primordials } = __bootstrap;
const {
  op_storage_abort_upload,
  op_storage_complete_upload,
  op_storage_create_upload,
  op_storage_delete,
  op_storage_get,
  op_storage_get_with,
  op_storage_head,
  op_storage_list,
  op_storage_store_begin,
  op_storage_store_bytes,
  op_storage_store_finish,
  op_storage_store_resource,
  op_storage_store_text,
  op_storage_store_write,
} = core.ops;
const {
  ArrayIsArray,
  ArrayPrototypePush,
  Date,
  DateParse,
  DatePrototypeGetTime,
  DatePrototypeToUTCString,
  Error,
  JSONParse,
  MathTrunc,
  NumberIsInteger,
  NumberIsNaN,
  NumberParseInt,
  NumberPrototypeToString,
  ObjectDefineProperty,
  ObjectKeys,
  ObjectPrototypeIsPrototypeOf,
  RangeError,
  StringPrototypeEndsWith,
  StringPrototypeSlice,
  StringPrototypeStartsWith,
  Symbol,
  SymbolToStringTag,
  TypeError,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  Uint8Array,
  uncurryThis,
} = primordials;
const { checkOptions, isObject, refused, requireArgument, toInteger, wrongField } = core.loadExtScript(
  "ext:aerostack/platform/arguments.ts",
);
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { refuseClones } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const { ignoreFailure } = core.loadExtScript("ext:aerostack/platform/plain.ts");

const { Blob, BlobPrototype } = core.loadExtScript("ext:deno_web/09_file.js");
const { Headers } = core.loadExtScript("ext:deno_fetch/20_headers.js");
const { InnerBody, packageData } = core.loadExtScript("ext:deno_fetch/22_body.js");
const streams = core.loadExtScript("ext:deno_web/06_streams.js");
const { lengthOf, staticSourceOf } = core.loadExtScript("ext:aerostack/platform/body_streams.ts");

const {
  acquireReadableStreamDefaultReader,
  getReadableStreamResourceBacking,
  isReadableStream,
  isReadableStreamLocked,
  readableStreamDisturb,
  readableStreamForRid,
  readableStreamReaderGenericCancel,
} = streams;
const HeadersPrototype = Headers.prototype;
// Taken before user code can put another in its place.
const readOfReader = uncurryThis(streams.ReadableStreamDefaultReader.prototype.read);
const getOfHeaders = uncurryThis(HeadersPrototype.get);
const setOfHeaders = uncurryThis(HeadersPrototype.set);
const streamOfBlob = uncurryThis(BlobPrototype.stream);

// How many elements `bindings/storage/src/ops.rs` makes of an object.
const OBJECT_ELEMENTS = 9;

const UNKNOWN_LENGTH =
  "Provided readable stream must have a known length (request/response body or readable half of FixedLengthStream)";
const BODY_USED = "Body has already been used. It can only be used once. Use tee() first if you need to read it twice.";

// The algorithms in the order in which R2 looks for them, with their names and how many bytes they make.
const ALGORITHMS: [string, string, number][] = [
  ["md5", "MD5", 16],
  ["sha1", "SHA-1", 20],
  ["sha256", "SHA-256", 32],
  ["sha384", "SHA-384", 48],
  ["sha512", "SHA-512", 64],
];

// The members of HTTP metadata and the headers that they become, in R2's order; `cacheExpiry`, a date, comes after them.
const HTTP_FIELDS: [string, string][] = [
  ["contentType", "content-type"],
  ["contentLanguage", "content-language"],
  ["contentDisposition", "content-disposition"],
  ["contentEncoding", "content-encoding"],
  ["cacheControl", "cache-control"],
];

const construct = Symbol("construct");

// How messages name the methods, and what they take.
const HEAD = { name: "head", of: "R2Bucket" };
const GET = { name: "get", of: "R2Bucket" };
const PUT = { name: "put", of: "R2Bucket" };
const DELETE = { name: "delete", of: "R2Bucket" };
const LIST = { name: "list", of: "R2Bucket" };
const CREATE_UPLOAD = { name: "createMultipartUpload", of: "R2Bucket" };
const RESUME_UPLOAD = { name: "resumeMultipartUpload", of: "R2Bucket" };
const UPLOAD_PART = { name: "uploadPart", of: "R2MultipartUpload" };
const COMPLETE = { name: "complete", of: "R2MultipartUpload" };
const WRITE_HTTP_METADATA = { name: "writeHttpMetadata", of: "HeadResult" };
const VALUE = "ReadableStream or ArrayBuffer or ArrayBufferView or string or Blob";

const toText = (value: unknown): string => typeof value === "string" ? value : `${value}`;
const isAbsent = (value: unknown) => value === undefined || value === null;
const isHeaders = (value: unknown) => ObjectPrototypeIsPrototypeOf(HeadersPrototype, value);

function hexOf(bytes: Uint8Array): string {
  let hex = "";
  for (let place = 0; place < TypedArrayPrototypeGetByteLength(bytes); place++) {
    hex += StringPrototypeSlice(NumberPrototypeToString(bytes[place] + 256, 16), 1);
  }
  return hex;
}

function bufferOf(hex: string): ArrayBuffer {
  const bytes = new Uint8Array(hex.length / 2);
  for (let place = 0; place < hex.length; place += 2) {
    bytes[place / 2] = NumberParseInt(StringPrototypeSlice(hex, place, place + 2), 16);
  }
  return TypedArrayPrototypeGetBuffer(bytes);
}

// Milliseconds since 1970, or null where no date was given.
function toTime(value: any, field: string, of: string): number | null {
  if (value === undefined) {
    return null;
  }
  if (typeof value !== "number" && !core.isDate(value)) {
    throw wrongField(field, of, "date");
  }
  const time = typeof value === "number" ? value : DatePrototypeGetTime(value);
  if (NumberIsNaN(time)) {
    throw new TypeError("The value cannot be converted because it is not a valid Date.");
  }
  return time;
}

// A member that must be a text and is not made one, or null where it was left out.
function toOwnText(value: unknown, field: string, of: string): string | null {
  if (value === undefined) {
    return null;
  }
  if (typeof value !== "string") {
    throw wrongField(field, of, "string");
  }
  return value;
}

// Whether a member that holds members was given.
function hasMembers(value: unknown, field: string, of: string, type: string): boolean {
  if (isAbsent(value)) {
    return false;
  }
  if (!isObject(value)) {
    throw wrongField(field, of, type);
  }
  return true;
}

// Of an HTTP date; one that is none is as good as no header.
function timeOfHeader(header: string | null): number | null {
  const time = header === null ? NaN : DateParse(header);
  return NumberIsNaN(time) ? null : time;
}

function readCondition(onlyIf: any, of: string) {
  if (!hasMembers(onlyIf, "onlyIf", of, "Conditional or Headers")) {
    return null;
  }
  if (isHeaders(onlyIf)) {
    return {
      areHeaders: true,
      etagMatches: getOfHeaders(onlyIf, "if-match"),
      etagDoesNotMatch: getOfHeaders(onlyIf, "if-none-match"),
      uploadedBefore: timeOfHeader(getOfHeaders(onlyIf, "if-unmodified-since")),
      uploadedAfter: timeOfHeader(getOfHeaders(onlyIf, "if-modified-since")),
      secondsGranularity: true,
    };
  }
  return {
    areHeaders: false,
    etagMatches: readEtag(onlyIf.etagMatches, "etagMatches"),
    etagDoesNotMatch: readEtag(onlyIf.etagDoesNotMatch, "etagDoesNotMatch"),
    uploadedBefore: toTime(onlyIf.uploadedBefore, "uploadedBefore", "Conditional"),
    uploadedAfter: toTime(onlyIf.uploadedAfter, "uploadedAfter", "Conditional"),
    secondsGranularity: !!onlyIf.secondsGranularity,
  };
}

function readEtag(value: unknown, field: string): string | null {
  const etag = toOwnText(value, field, "Conditional");
  if (etag === null) {
    return null;
  }
  if (StringPrototypeStartsWith(etag, '"') && StringPrototypeEndsWith(etag, '"')) {
    throw new TypeError(`Conditional ETag should not be wrapped in quotes (${etag}).`);
  }
  return etag;
}

function readRange(range: any) {
  if (!hasMembers(range, "range", "GetOptions", "Range or Headers")) {
    return null;
  }
  if (isHeaders(range)) {
    const header = getOfHeaders(range, "range");
    return header === null ? null : { __proto__: null, header };
  }
  const offset = readCount(range.offset, "Invalid range. Starting offset");
  const length = readCount(range.length, "Invalid range. Length");
  if (range.suffix === undefined) {
    return { __proto__: null, offset, length };
  }
  if (offset !== null) {
    throw new TypeError("Suffix is incompatible with offset.");
  }
  if (length !== null) {
    throw new TypeError("Suffix is incompatible with length.");
  }
  const suffix = +range.suffix;
  if (!(suffix >= 0)) {
    throw new RangeError(`Invalid suffix. Suffix (${shown(suffix)}) must be greater than or equal to 0.`);
  }
  return { __proto__: null, suffix: readCount(suffix, "Invalid range. Suffix") };
}

// As workerd prints a number.
const shown = (number: number) => NumberIsNaN(number) ? "nan" : `${number}`;

function readCount(value: any, what: string): number | null {
  if (value === undefined) {
    return null;
  }
  const count = +value;
  if (!(count >= 0)) {
    throw new RangeError(`${what} (${shown(count)}) must be greater than or equal to 0.`);
  }
  if (!NumberIsInteger(count) && count !== Infinity) {
    throw new RangeError(`${what} (${count}) must be an integer, not floating point.`);
  }
  return count;
}

// A date that cannot be read is in the past, as HTTP has it.
const expiryOfHeader = (header: string | null) => header === null ? null : timeOfHeader(header) ?? 0;

function readHttpMetadata(given: any, of: string) {
  if (!hasMembers(given, "httpMetadata", of, "HttpMetadata or Headers")) {
    return null;
  }
  const areHeaders = isHeaders(given);
  const metadata: Record<string, unknown> = { __proto__: null };
  for (let place = 0; place < HTTP_FIELDS.length; place++) {
    const { 0: name, 1: header } = HTTP_FIELDS[place];
    const value = areHeaders ? getOfHeaders(given, header) ?? undefined : given[name];
    if (value !== undefined) {
      metadata[name] = toText(value);
    }
  }
  const expiry = areHeaders
    ? expiryOfHeader(getOfHeaders(given, "expires"))
    : toTime(given.cacheExpiry, "cacheExpiry", "HttpMetadata");
  if (expiry !== null) {
    metadata.cacheExpiry = MathTrunc(expiry);
  }
  return metadata;
}

function readCustomMetadata(given: any, of: string): [string, string][] | null {
  if (given === undefined) {
    return null;
  }
  if (!isObject(given) || ArrayIsArray(given)) {
    throw wrongField("customMetadata", of, "object");
  }
  const entries: [string, string][] = [];
  const names = ObjectKeys(given);
  for (let place = 0; place < names.length; place++) {
    ArrayPrototypePush(entries, [names[place], toText(given[names[place]])]);
  }
  return entries;
}

function readChecksum(options: any) {
  let checksum = null;
  for (let place = 0; place < ALGORITHMS.length; place++) {
    const { 0: algorithm, 1: title, 2: size } = ALGORITHMS[place];
    const value = options[algorithm];
    if (value === undefined) {
      continue;
    }
    if (checksum !== null) {
      throw new TypeError("You cannot specify multiple hashing algorithms.");
    }
    if (typeof value === "string") {
      if (value.length !== 2 * size) {
        throw new TypeError(`${title} is ${2 * size} hex characters, not ${value.length}`);
      }
      checksum = { algorithm, hex: value };
      continue;
    }
    const bytes = bytesOf(value);
    if (bytes === undefined) {
      throw wrongField(algorithm, "PutOptions", "JsBufferSource or string");
    }
    const length = TypedArrayPrototypeGetByteLength(bytes);
    if (length !== size) {
      throw new TypeError(`${title} is ${size} bytes, not ${length}`);
    }
    checksum = { algorithm, hex: hexOf(bytes) };
  }
  return checksum;
}

// Bytes are kept as they are: to drop the key silently would be worse than to say so.
function refuseEncryption(options: any, action: string) {
  if (!isAbsent(options?.ssecKey)) {
    throw new Error(`${action}: ssecKey is not supported: objects are not encrypted here (10029)`);
  }
}

function readStoreOptions(options: any, place: number, method: { name: string; of: string }, of: string) {
  checkOptions(options, place, method, of);
  if (isAbsent(options)) {
    return null;
  }
  refuseEncryption(options, method.name);
  const { storageClass } = options;
  return {
    httpMetadata: readHttpMetadata(options.httpMetadata, of),
    customMetadata: readCustomMetadata(options.customMetadata, of),
    storageClass: isAbsent(storageClass) ? null : toText(storageClass),
    checksum: null as unknown,
    onlyIf: null as unknown,
  };
}

function readPutOptions(options: any) {
  const read = readStoreOptions(options, 3, PUT, "PutOptions");
  if (read !== null) {
    read.onlyIf = readCondition(options.onlyIf, "PutOptions");
    read.checksum = readChecksum(options);
  }
  return read;
}

// Where a value goes: an object, or a part of an upload.
type Target = {
  storage: number;
  key: string;
  options: unknown;
  uploadId: string | null;
  number: number | null;
};

// The op takes a copy, which counts where it is large.
function stored(length: number, op: any, target: Target, value: string | Uint8Array): Promise<any> {
  if (length <= UNCOUNTED_BYTES) {
    return op(target, value);
  }
  const { callCounted } = core.loadExtScript("ext:aerostack/platform/counted_arguments.ts");
  return callCounted(length, op, undefined, [target, value]);
}

// `Memory::FREE`.
const UNCOUNTED_BYTES = 64 * 1024;

// Stores a value. Becomes an object's elements, null where a condition did not hold, or the etag of a part.
async function store(target: Target, value: any, method: { name: string; of: string }): Promise<any> {
  if (typeof value === "string") {
    return await stored(value.length, op_storage_store_text, target, value);
  }
  if (value === null || value === undefined) {
    return await op_storage_store_text(target, "");
  }
  const bytes = bytesOf(value);
  if (bytes !== undefined) {
    return await stored(TypedArrayPrototypeGetByteLength(bytes), op_storage_store_bytes, target, bytes);
  }
  if (ObjectPrototypeIsPrototypeOf(BlobPrototype, value)) {
    return await storePieces(target, streamOfBlob(value), value.size);
  }
  if (!isReadableStream(value)) {
    throw refused(2, method, VALUE);
  }
  return await storeStream(target, value);
}

// Whether `store` takes a value.
function isStorable(value: any): boolean {
  return typeof value === "string" || isAbsent(value) || bytesOf(value) !== undefined ||
    ObjectPrototypeIsPrototypeOf(BlobPrototype, value) || isReadableStream(value);
}

async function storeStream(target: Target, stream: any): Promise<any> {
  if (isReadableStreamLocked(stream)) {
    throw new TypeError("This ReadableStream is currently locked to a reader.");
  }
  const backing = getReadableStreamResourceBacking(stream);
  const length = lengthOf(stream);
  if (backing && length !== undefined) {
    // The stream only forwards a resource: the resource itself goes to the bucket.
    acquireReadableStreamDefaultReader(stream);
    readableStreamDisturb(stream);
    return await op_storage_store_resource(target, backing.rid);
  }
  if (length !== undefined) {
    return await storePieces(target, stream, length);
  }
  const source = staticSourceOf(stream);
  if (source === undefined) {
    throw new TypeError(UNKNOWN_LENGTH);
  }
  // All of it is here already.
  acquireReadableStreamDefaultReader(stream);
  readableStreamDisturb(stream);
  return await store(target, source, PUT);
}

async function storePieces(target: Target, stream: any, size: number) {
  const reader = acquireReadableStreamDefaultReader(stream);
  let upload;
  try {
    upload = await op_storage_store_begin(target, size);
    for (let read = await readOfReader(reader); !read.done; read = await readOfReader(reader)) {
      const piece = bytesOf(read.value);
      if (piece === undefined) {
        throw new TypeError("This ReadableStream did not return bytes.");
      }
      await op_storage_store_write(upload, piece);
    }
    return await op_storage_store_finish(upload);
  } catch (error) {
    if (upload !== undefined) {
      core.tryClose(upload);
    }
    ignoreFailure(readableStreamReaderGenericCancel(reader, error));
    throw error;
  }
}

class R2Checksums {
  #hex: Record<string, string> = { __proto__: null } as any;

  constructor(key: symbol, flat: string[]) {
    checkConstructor(key);
    for (let place = 0; place < flat.length; place += 2) {
      this.#hex[flat[place]] = flat[place + 1];
    }
  }

  get md5() {
    return this.#buffer("md5");
  }
  get sha1() {
    return this.#buffer("sha1");
  }
  get sha256() {
    return this.#buffer("sha256");
  }
  get sha384() {
    return this.#buffer("sha384");
  }
  get sha512() {
    return this.#buffer("sha512");
  }

  #buffer(algorithm: string): ArrayBuffer | undefined {
    const hex = this.#hex[algorithm];
    return hex === undefined ? undefined : bufferOf(hex);
  }

  toJSON() {
    return { ...this.#hex };
  }
}

function checkConstructor(key: symbol) {
  if (key !== construct) {
    throw new TypeError("Illegal constructor");
  }
}

function httpMetadataOf(json: string) {
  const metadata = JSONParse(json);
  if (metadata.cacheExpiry !== undefined) {
    metadata.cacheExpiry = new Date(metadata.cacheExpiry);
  }
  return metadata;
}

class R2Object {
  key: string;
  version: string;
  size: number;
  etag: string;
  httpEtag: string;
  checksums: R2Checksums;
  uploaded: Date;
  httpMetadata: any;
  customMetadata: Record<string, string>;
  range: { offset: number; length: number } | undefined;
  storageClass: string;
  ssecKeyMd5: string | undefined;

  // `place` is that of the object's first element; `range` tells whether its last two follow them.
  constructor(key: symbol, elements: any[], place: number, range: { offset: number; length: number } | undefined) {
    checkConstructor(key);
    const http = elements[place + 7];
    const custom = elements[place + 8];
    this.key = elements[place];
    this.version = elements[place + 1];
    this.size = elements[place + 2];
    this.etag = elements[place + 3];
    this.httpEtag = `"${elements[place + 3]}"`;
    this.checksums = new R2Checksums(construct, elements[place + 6]);
    this.uploaded = new Date(elements[place + 4]);
    // Not told in a listing that was not asked for it.
    this.httpMetadata = http === null ? {} : httpMetadataOf(http);
    this.customMetadata = custom === null ? {} : JSONParse(custom);
    this.range = range;
    this.storageClass = elements[place + 5];
    this.ssecKeyMd5 = undefined;
  }

  writeHttpMetadata(headers: unknown) {
    if (!isHeaders(headers)) {
      throw refused(1, WRITE_HTTP_METADATA, "Headers");
    }
    const { httpMetadata } = this;
    for (let place = 0; place < HTTP_FIELDS.length; place++) {
      const { 0: name, 1: header } = HTTP_FIELDS[place];
      if (httpMetadata[name] !== undefined) {
        setOfHeaders(headers, header, httpMetadata[name]);
      }
    }
    if (httpMetadata.cacheExpiry !== undefined) {
      setOfHeaders(headers, "expires", DatePrototypeToUTCString(httpMetadata.cacheExpiry));
    }
  }
}

class R2ObjectBody extends R2Object {
  #body: any;

  // `body` is bytes, or the resource that gives them.
  constructor(key: symbol, elements: any[], range: { offset: number; length: number }, body: Uint8Array | number) {
    super(key, elements, 0, range);
    if (typeof body === "number") {
      // Made at once: if nobody ever reads it, the stream's end closes the resource.
      this.#body = new InnerBody(readableStreamForRid(body));
      return;
    }
    this.#body = new InnerBody({ body, consumed: false });
    this.#body.length = TypedArrayPrototypeGetByteLength(body);
  }

  get body() {
    return this.#body.stream;
  }

  get bodyUsed() {
    return this.#body.consumed();
  }

  async #consume(): Promise<Uint8Array> {
    if (this.#body.unusable()) {
      throw new TypeError(BODY_USED);
    }
    return await this.#body.consume();
  }

  async arrayBuffer() {
    return packageData(await this.#consume(), "ArrayBuffer", null);
  }

  async bytes() {
    return packageData(await this.#consume(), "bytes", null);
  }

  async text() {
    return packageData(await this.#consume(), "text", null);
  }

  async json() {
    return packageData(await this.#consume(), "JSON", null);
  }

  async blob() {
    const bytes = await this.#consume();
    return new Blob([bytes], { __proto__: null, type: this.httpMetadata?.contentType ?? "" });
  }
}

class R2MultipartUpload {
  key: string;
  uploadId: string;
  #storage: number;

  constructor(construction: symbol, storage: number, key: string, uploadId: string) {
    checkConstructor(construction);
    this.#storage = storage;
    this.key = key;
    this.uploadId = uploadId;
  }

  async uploadPart(partNumber: unknown, value: unknown, options?: any) {
    requireArgument(arguments.length, 1, UPLOAD_PART, "integer");
    if (value === null) throw refused(2, UPLOAD_PART, VALUE);
    requireArgument(arguments.length, 2, UPLOAD_PART, VALUE);
    checkOptions(options, 3, UPLOAD_PART, "UploadPartOptions");
    const number = readPartNumber(partNumber);
    refuseEncryption(options, "uploadPart");
    const target = { storage: this.#storage, key: this.key, options: null, uploadId: this.uploadId, number };
    return { partNumber: number, etag: await store(target, value, UPLOAD_PART) };
  }

  async abort() {
    await op_storage_abort_upload(this.#storage, this.key, this.uploadId);
  }

  async complete(uploadedParts: any) {
    if (!ArrayIsArray(uploadedParts)) {
      throw refused(1, COMPLETE, "Array");
    }
    const parts: { number: number; etag: string }[] = [];
    for (let place = 0; place < uploadedParts.length; place++) {
      if (!isObject(uploadedParts[place])) {
        throw wrongElement(place, "UploadedPart");
      }
      const { partNumber, etag } = uploadedParts[place];
      ArrayPrototypePush(parts, { number: readPartNumber(partNumber), etag: toText(etag) });
    }
    const elements = await op_storage_complete_upload(this.#storage, this.key, this.uploadId, parts);
    return new R2Object(construct, elements, 0, undefined);
  }
}

function wrongElement(place: number, type: string) {
  return new TypeError(`Incorrect type for array element ${place}: the provided value is not of type '${type}'.`);
}

function readPartNumber(value: unknown): number {
  const number = toInteger(value);
  if (number < 1 || number > 10000) {
    throw new TypeError(`Part number must be between 1 and 10000 (inclusive). Actual value was: ${number}`);
  }
  return number;
}

function foundObject(elements: any[] | null) {
  if (elements === null) {
    return null;
  }
  const range = { offset: elements[OBJECT_ELEMENTS], length: elements[OBJECT_ELEMENTS + 1] };
  const body = elements[OBJECT_ELEMENTS + 2];
  return body === null
    ? new R2Object(construct, elements, 0, range)
    : new R2ObjectBody(construct, elements, range, body);
}

async function getOne(storage: number, key: string, options: any) {
  checkOptions(options, 2, GET, "GetOptions");
  if (isAbsent(options)) {
    return foundObject(await op_storage_get(storage, key));
  }
  refuseEncryption(options, "get");
  const range = readRange(options.range);
  const onlyIf = readCondition(options.onlyIf, "GetOptions");
  return foundObject(await op_storage_get_with(storage, key, { range, onlyIf }));
}

async function putOne(storage: number, key: string, value: unknown, options: unknown) {
  let target;
  try {
    target = { storage, key, options: readPutOptions(options), uploadId: null, number: null };
  } catch (error) {
    if (!isStorable(value)) {
      throw refused(2, PUT, VALUE);
    }
    if (isReadableStream(value) && !isReadableStreamLocked(value)) {
      const reader = acquireReadableStreamDefaultReader(value);
      ignoreFailure(readableStreamReaderGenericCancel(reader, error));
    }
    throw error;
  }
  const elements = await store(target, value, PUT);
  return elements === null ? null : new R2Object(construct, elements, 0, undefined);
}

async function listObjects(storage: number, options: any) {
  const asked = {
    prefix: null as string | null,
    delimiter: null as string | null,
    cursor: null as string | null,
    startAfter: null as string | null,
    limit: null as number | null,
    httpMetadata: false,
    customMetadata: false,
  };
  checkOptions(options, 1, LIST, "ListOptions");
  if (!isAbsent(options)) {
    const { prefix, delimiter, cursor, startAfter, limit, include } = options;
    asked.prefix = toOwnText(prefix, "prefix", "ListOptions");
    asked.delimiter = toOwnText(delimiter, "delimiter", "ListOptions");
    asked.cursor = toOwnText(cursor, "cursor", "ListOptions");
    asked.startAfter = toOwnText(startAfter, "startAfter", "ListOptions");
    // What is no number counts as 0, which is refused.
    asked.limit = limit === undefined ? null : toInteger(limit);
    if (include !== undefined && !ArrayIsArray(include)) {
      throw wrongField("include", "ListOptions", "Array");
    }
    for (let place = 0; place < (include?.length ?? 0); place++) {
      const field = include[place];
      if (typeof field !== "string") {
        throw wrongElement(place, "string");
      }
      if (field !== "httpMetadata" && field !== "customMetadata") {
        throw new RangeError(`Unsupported include value ${field}`);
      }
      asked[field] = true;
    }
  }
  const page = await op_storage_list(storage, asked);
  const objects: R2Object[] = [];
  for (let place = 2; place < page.length; place += OBJECT_ELEMENTS) {
    ArrayPrototypePush(objects, new R2Object(construct, page, place, undefined));
  }
  const { 0: cursor, 1: delimitedPrefixes } = page;
  return cursor === null
    ? { objects, truncated: false, delimitedPrefixes }
    : { objects, truncated: true, cursor, delimitedPrefixes };
}

class R2Bucket {
  #storage: number;

  constructor(key: symbol, storage: number) {
    checkConstructor(key);
    this.#storage = storage;
  }

  async head(key: unknown) {
    requireArgument(arguments.length, 1, HEAD, "string");
    return foundObject(await op_storage_head(this.#storage, toText(key)));
  }

  async get(key: unknown, options?: unknown) {
    requireArgument(arguments.length, 1, GET, "string");
    return await getOne(this.#storage, toText(key), options);
  }

  async put(key: unknown, value: unknown, options?: unknown) {
    requireArgument(arguments.length, 1, PUT, "string");
    requireArgument(arguments.length, 2, PUT, VALUE);
    return await putOne(this.#storage, toText(key), value, options);
  }

  async delete(keys: any) {
    requireArgument(arguments.length, 1, DELETE, "string or Array");
    const names: string[] = [];
    if (ArrayIsArray(keys)) {
      for (let place = 0; place < keys.length; place++) {
        ArrayPrototypePush(names, toText(keys[place]));
      }
    } else {
      ArrayPrototypePush(names, toText(keys));
    }
    await op_storage_delete(this.#storage, names);
  }

  async list(options?: unknown) {
    return await listObjects(this.#storage, options);
  }

  async createMultipartUpload(key: unknown, options?: unknown) {
    requireArgument(arguments.length, 1, CREATE_UPLOAD, "string");
    const name = toText(key);
    const read = readStoreOptions(options, 2, CREATE_UPLOAD, "MultipartOptions");
    const uploadId = await op_storage_create_upload(this.#storage, name, read);
    return new R2MultipartUpload(construct, this.#storage, name, uploadId);
  }

  resumeMultipartUpload(key: unknown, uploadId: unknown) {
    requireArgument(arguments.length, 1, RESUME_UPLOAD, "string");
    requireArgument(arguments.length, 2, RESUME_UPLOAD, "string");
    return new R2MultipartUpload(construct, this.#storage, toText(key), toText(uploadId));
  }
}

const CLASSES: [any, string][] = [
  [R2Bucket, "R2Bucket"],
  [R2Checksums, "R2Checksums"],
  [R2MultipartUpload, "R2MultipartUpload"],
  [R2Object, "R2Object"],
  [R2ObjectBody, "R2ObjectBody"],
];
for (let place = 0; place < CLASSES.length; place++) {
  const { 0: { prototype }, 1: value } = CLASSES[place];
  ObjectDefineProperty(prototype, SymbolToStringTag, { __proto__: null, value, configurable: true });
}

const createStorage = (index: number) => new R2Bucket(construct, index);

refuseClones(R2Bucket, R2Checksums, R2MultipartUpload, R2Object);

return { createStorage };
})();
