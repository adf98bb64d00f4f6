// `env.STORAGE`: objects of any size, with the surface of a Cloudflare R2 bucket.

/** What can be stored. A stream needs a known length: a body with a `Content-Length`, or a `FixedLengthStream`'s readable side. */
type R2Value = ReadableStream | ArrayBuffer | ArrayBufferView | string | null | Blob;

/** A bucket of objects. Keys have up to 1024 bytes of UTF-8. */
interface R2Bucket {
  /** What is known of an object, or `null`. */
  head(key: string): Promise<R2Object | null>;
  /** An object with its bytes, or `null`. Where `onlyIf` does not hold, it has no `body`. */
  get(key: string, options: R2GetOptions & { onlyIf: R2Conditional | Headers }): Promise<R2ObjectBody | R2Object | null>;
  get(key: string, options?: R2GetOptions): Promise<R2ObjectBody | null>;
  /** Stores an object in place of whatever was there; `null` where `onlyIf` does not hold. */
  put(
    key: string,
    value: R2Value,
    options: R2PutOptions & { onlyIf: R2Conditional | Headers },
  ): Promise<R2Object | null>;
  put(key: string, value: R2Value, options?: R2PutOptions): Promise<R2Object>;
  /** Removes up to 1000 keys. That one was not there is no error. */
  delete(keys: string | string[]): Promise<void>;
  /** A page of the objects, in the order of the UTF-8 bytes of their keys. */
  list(options?: R2ListOptions): Promise<R2Objects>;
  /** Begins an upload in parts. */
  createMultipartUpload(key: string, options?: R2MultipartOptions): Promise<R2MultipartUpload>;
  /** An upload that was begun before. Nothing is checked until it is used. */
  resumeMultipartUpload(key: string, uploadId: string): R2MultipartUpload;
}

/**
 * The bucket on `env.STORAGE`.
 *
 * The web platform has an interface of this name too, and TypeScript merges the two: completion shows both, `env.STORAGE` has
 * what is declared here.
 */
interface Storage extends R2Bucket {}

/** What is known of an object. */
interface R2Object {
  readonly key: string;
  /** 32 hex digits, new each time the object is stored. */
  readonly version: string;
  /** In bytes. */
  readonly size: number;
  /** Without quotes. */
  readonly etag: string;
  /** With quotes, as the header has it. */
  readonly httpEtag: string;
  readonly checksums: R2Checksums;
  /** When it was stored. */
  readonly uploaded: Date;
  /** Absent in a listing that does not include it. */
  readonly httpMetadata?: R2HTTPMetadata;
  /** Absent in a listing that does not include it. */
  readonly customMetadata?: Record<string, string>;
  /** The bytes that `get` gives; all of them after `head`. */
  readonly range?: { offset: number; length: number };
  readonly storageClass: R2StorageClass;
  readonly ssecKeyMd5?: string;
  /** Sets the headers that the object was stored with. */
  writeHttpMetadata(headers: Headers): void;
}

/** An object with its bytes. They can be read once. */
interface R2ObjectBody extends R2Object {
  readonly body: ReadableStream<Uint8Array>;
  readonly bodyUsed: boolean;
  arrayBuffer(): Promise<ArrayBuffer>;
  bytes(): Promise<Uint8Array>;
  text(): Promise<string>;
  json<Value = unknown>(): Promise<Value>;
  blob(): Promise<Blob>;
}

type R2StorageClass = "Standard" | "InfrequentAccess";

interface R2HTTPMetadata {
  contentType?: string;
  contentLanguage?: string;
  contentDisposition?: string;
  contentEncoding?: string;
  cacheControl?: string;
  /** Becomes `Expires`. */
  cacheExpiry?: Date;
}

/** MD5 is there unless the object was uploaded in parts; another where the caller gave it. */
interface R2Checksums {
  readonly md5?: ArrayBuffer;
  readonly sha1?: ArrayBuffer;
  readonly sha256?: ArrayBuffer;
  readonly sha384?: ArrayBuffer;
  readonly sha512?: ArrayBuffer;
  /** The same as hex digits. */
  toJSON(): R2StringChecksums;
}

interface R2StringChecksums {
  md5?: string;
  sha1?: string;
  sha256?: string;
  sha384?: string;
  sha512?: string;
}

/** Bytes from an offset, so many, or so many at the end. */
type R2Range = { offset: number; length?: number } | { offset?: number; length: number } | { suffix: number };

/** All that is given must hold. Etags have no quotes; `"*"` is any. */
interface R2Conditional {
  etagMatches?: string;
  etagDoesNotMatch?: string;
  uploadedBefore?: Date;
  uploadedAfter?: Date;
  /** Compare times in whole seconds. */
  secondsGranularity?: boolean;
}

interface R2GetOptions {
  /** Of `Headers`, `Range` is read. */
  range?: R2Range | Headers;
  /** Of `Headers`, `If-Match`, `If-None-Match`, `If-Modified-Since` and `If-Unmodified-Since` are read. */
  onlyIf?: R2Conditional | Headers;
}

interface R2MultipartOptions {
  /** Of `Headers`, those that the members of `R2HTTPMetadata` become are read. */
  httpMetadata?: R2HTTPMetadata | Headers;
  /** Up to 2048 characters, names and values together. */
  customMetadata?: Record<string, string>;
  storageClass?: R2StorageClass;
}

/** At most one checksum, which the bytes must have: hex digits or bytes. */
interface R2PutOptions extends R2MultipartOptions {
  onlyIf?: R2Conditional | Headers;
  md5?: string | ArrayBuffer | ArrayBufferView;
  sha1?: string | ArrayBuffer | ArrayBufferView;
  sha256?: string | ArrayBuffer | ArrayBufferView;
  sha384?: string | ArrayBuffer | ArrayBufferView;
  sha512?: string | ArrayBuffer | ArrayBufferView;
}

interface R2ListOptions {
  /** How many objects and prefixes a page has at most; up to 1000, which is the default. With `include`, 100. */
  limit?: number;
  /** What the keys begin with. */
  prefix?: string;
  /** The `cursor` of the page before. */
  cursor?: string;
  /** Keys that have it behind the prefix are told as one prefix. */
  delimiter?: string;
  /** The keys come after this one. */
  startAfter?: string;
  /** What is told of each object beside the rest. */
  include?: ("httpMetadata" | "customMetadata")[];
}

type R2Objects =
  & { objects: R2Object[]; delimitedPrefixes: string[] }
  & ({ truncated: true; cursor: string } | { truncated: false });

/** An upload in parts. All parts but the last have the same size, at least 5 MiB. */
interface R2MultipartUpload {
  readonly key: string;
  readonly uploadId: string;
  /** Stores a part, in place of the one with its number: 1 to 10,000. */
  uploadPart(partNumber: number, value: R2Value): Promise<R2UploadedPart>;
  /** Forgets the parts. */
  abort(): Promise<void>;
  /** Makes the object. The parts lie in it in the order of their numbers. */
  complete(uploadedParts: R2UploadedPart[]): Promise<R2Object>;
}

interface R2UploadedPart {
  partNumber: number;
  etag: string;
}
