// `env.CACHE`: a store of keys and values with the surface of Cloudflare Workers KV.

/** What can be stored under a key. */
type KVNamespaceValue = string | ArrayBuffer | ArrayBufferView | ReadableStream;

/** A store of keys and values. Keys have up to 512 bytes, values up to 25 MiB. */
interface KVNamespace<Key extends string = string> {
  /** The value under a key as text, or `null`. */
  get(key: Key, options?: "text" | Partial<KVNamespaceGetOptions<undefined>>): Promise<string | null>;
  get(key: Key, options: KVNamespaceGetOptions<"text">): Promise<string | null>;
  /** The value parsed as JSON. Rejects with a `SyntaxError` where it is none. */
  get<Value = unknown>(key: Key, options: "json" | KVNamespaceGetOptions<"json">): Promise<Value | null>;
  get(key: Key, options: "arrayBuffer" | KVNamespaceGetOptions<"arrayBuffer">): Promise<ArrayBuffer | null>;
  get(key: Key, options: "stream" | KVNamespaceGetOptions<"stream">): Promise<ReadableStream<Uint8Array> | null>;
  /** The values under 1 to 100 keys, in their order; `null` where there is none. */
  get(
    keys: Key[],
    options?: "text" | KVNamespaceGetOptions<"text"> | Partial<KVNamespaceGetOptions<undefined>>,
  ): Promise<Map<string, string | null>>;
  get<Value = unknown>(
    keys: Key[],
    options: "json" | KVNamespaceGetOptions<"json">,
  ): Promise<Map<string, Value | null>>;

  /** As `get()`, with the metadata beside the value. Both are `null` where there is no value. */
  getWithMetadata<Metadata = unknown>(
    key: Key,
    options?: "text" | Partial<KVNamespaceGetOptions<undefined>>,
  ): Promise<KVNamespaceGetWithMetadataResult<string, Metadata>>;
  getWithMetadata<Metadata = unknown>(
    key: Key,
    options: KVNamespaceGetOptions<"text">,
  ): Promise<KVNamespaceGetWithMetadataResult<string, Metadata>>;
  getWithMetadata<Value = unknown, Metadata = unknown>(
    key: Key,
    options: "json" | KVNamespaceGetOptions<"json">,
  ): Promise<KVNamespaceGetWithMetadataResult<Value, Metadata>>;
  getWithMetadata<Metadata = unknown>(
    key: Key,
    options: "arrayBuffer" | KVNamespaceGetOptions<"arrayBuffer">,
  ): Promise<KVNamespaceGetWithMetadataResult<ArrayBuffer, Metadata>>;
  getWithMetadata<Metadata = unknown>(
    key: Key,
    options: "stream" | KVNamespaceGetOptions<"stream">,
  ): Promise<KVNamespaceGetWithMetadataResult<ReadableStream<Uint8Array>, Metadata>>;
  getWithMetadata<Metadata = unknown>(
    keys: Key[],
    options?: "text" | KVNamespaceGetOptions<"text"> | Partial<KVNamespaceGetOptions<undefined>>,
  ): Promise<Map<string, KVNamespaceGetWithMetadataResult<string, Metadata> | null>>;
  getWithMetadata<Value = unknown, Metadata = unknown>(
    keys: Key[],
    options: "json" | KVNamespaceGetOptions<"json">,
  ): Promise<Map<string, KVNamespaceGetWithMetadataResult<Value, Metadata> | null>>;

  /** Stores a value in place of whatever was under the key, its expiry and metadata included. */
  put(key: Key, value: KVNamespaceValue, options?: KVNamespacePutOptions): Promise<void>;

  /** A page of the keys, in the order of their UTF-8 bytes. */
  list<Metadata = unknown>(options?: KVNamespaceListOptions): Promise<KVNamespaceListResult<Metadata, Key>>;

  /** Removes a key. That it was not there is no error. */
  delete(key: Key): Promise<void>;
}

/**
 * The store on `env.CACHE`.
 *
 * The web platform has an interface of this name too, and TypeScript merges the two: completion shows both, `env.CACHE` has
 * what is declared here.
 */
interface Cache extends KVNamespace {
  /** Stores a value in place of whatever was under the key, its expiry and metadata included. */
  put(key: string, value: KVNamespaceValue, options?: KVNamespacePutOptions): Promise<void>;
  /** Removes a key. That it was not there is no error. */
  delete(key: string): Promise<void>;
}

interface KVNamespaceGetOptions<Type> {
  /** What the value is to become: `"text"` (the default), `"json"`, `"arrayBuffer"` or `"stream"`. */
  type: Type;
  /** At least 30. Has no effect here: there is one place where values are. */
  cacheTtl?: number;
}

interface KVNamespacePutOptions {
  /** The second, counted from 1970, at which the entry is gone; at least 60 seconds ahead. */
  expiration?: number;
  /** In how many seconds the entry is gone, at least 60. Wins over `expiration`. */
  expirationTtl?: number;
  /** Anything that JSON can hold, up to 1024 bytes of JSON. */
  metadata?: any | null;
}

interface KVNamespaceListOptions {
  /** How many keys a page has at most; up to 1000, which is the default. */
  limit?: number;
  /** What the keys begin with. */
  prefix?: string | null;
  /** The `cursor` of the page before. */
  cursor?: string | null;
}

interface KVNamespaceListKey<Metadata, Key extends string = string> {
  name: Key;
  /** The second, counted from 1970, at which the entry is gone. */
  expiration?: number;
  metadata?: Metadata;
}

type KVNamespaceListResult<Metadata, Key extends string = string> =
  | { list_complete: false; keys: KVNamespaceListKey<Metadata, Key>[]; cursor: string; cacheStatus: string | null }
  | { list_complete: true; keys: KVNamespaceListKey<Metadata, Key>[]; cacheStatus: string | null };

interface KVNamespaceGetWithMetadataResult<Value, Metadata> {
  value: Value | null;
  metadata: Metadata | null;
  cacheStatus: string | null;
}
