// `env.VECTORIZE`: an index of vectors with the surface of Cloudflare Vectorize (V2).

/** A value that metadata can have under a key, or in a list. */
type VectorizeVectorMetadataValue = string | number | boolean | string[];

/** Metadata: a value, or an object of them. Keys have no dots and do not begin with `$`. */
type VectorizeVectorMetadata = VectorizeVectorMetadataValue | Record<string, VectorizeVectorMetadataValue>;

type VectorFloatArray = Float32Array | Float64Array;

/** A vector to be stored, and as `getByIds()` returns it. */
interface VectorizeVector {
  /** Unique in the index; up to 64 bytes. */
  id: string;
  /** The components, stored as float32. All vectors of an index have the same number of them. */
  values: VectorFloatArray | number[];
  /** Part of the index that can be searched by itself; up to 64 bytes. */
  namespace?: string;
  /** Up to 10 KiB of JSON. */
  metadata?: Record<string, VectorizeVectorMetadata>;
}

type VectorizeVectorMetadataFilterOp = "$eq" | "$ne" | "$lt" | "$lte" | "$gt" | "$gte";
type VectorizeVectorMetadataFilterCollectionOp = "$in" | "$nin";

/**
 * What the metadata of a match must be: all of several conditions. A key with dots leads into nested objects; a bare value means
 * `$eq`. A lower and an upper bound may be combined.
 */
type VectorizeVectorMetadataFilter = {
  [key: string]:
    | Exclude<VectorizeVectorMetadataValue, string[]>
    | null
    | { [op in VectorizeVectorMetadataFilterOp]?: Exclude<VectorizeVectorMetadataValue, string[]> | null }
    | { [op in VectorizeVectorMetadataFilterCollectionOp]?: Exclude<VectorizeVectorMetadataValue, string[]>[] };
};

/** `"indexed"` is what filters look at: strings up to their first 64 bytes, numbers and booleans. */
type VectorizeMetadataRetrievalLevel = "all" | "indexed" | "none";

interface VectorizeQueryOptions {
  /** How many matches: 5 unless it says otherwise, up to 100, and up to 50 with values or all metadata. */
  topK?: number;
  /** Only vectors of this namespace. */
  namespace?: string;
  /** Whether the matches have their values. */
  returnValues?: boolean;
  /** Which metadata the matches have; `true` is `"all"`, `false` is `"none"`, the default. */
  returnMetadata?: boolean | VectorizeMetadataRetrievalLevel;
  /** Only vectors with such metadata. Applied before `topK`. */
  filter?: VectorizeVectorMetadataFilter;
}

/** A vector that was found. */
interface VectorizeMatch {
  id: string;
  /** Cosine: 1 is the same direction. Euclidean: 0 is the same point, smaller is nearer. Dot product: larger is nearer. */
  score: number;
  values?: number[];
  metadata?: Record<string, VectorizeVectorMetadata>;
  namespace?: string;
}

interface VectorizeMatches {
  /** The best first. */
  matches: VectorizeMatch[];
  count: number;
}

interface VectorizeAsyncMutation {
  /** Names the write. Here it can be read as soon as this is known. */
  mutationId: string;
}

interface VectorizeIndexInfo {
  vectorCount: number;
  /** 0 as long as neither the configuration nor a write has said it. */
  dimensions: number;
  /** When the last write was made, as ISO 8601, or `null` before the first. */
  processedUpToDatetime: string | null;
  /** The `mutationId` of the last write, or `null` before the first. */
  processedUpToMutation: string | null;
}

/** An index of vectors. */
interface Vectorize {
  /** The state of the index. */
  describe(): Promise<VectorizeIndexInfo>;
  /** The vectors that are nearest to this one. */
  query(vector: VectorFloatArray | number[], options?: VectorizeQueryOptions): Promise<VectorizeMatches>;
  /** The vectors that are nearest to the one stored under this id, which is among them. */
  queryById(vectorId: string, options?: VectorizeQueryOptions): Promise<VectorizeMatches>;
  /** Stores up to 1000 vectors. Those whose id is taken are skipped. */
  insert(vectors: VectorizeVector[]): Promise<VectorizeAsyncMutation>;
  /** Stores up to 1000 vectors, in place of those with their ids. */
  upsert(vectors: VectorizeVector[]): Promise<VectorizeAsyncMutation>;
  /** Removes up to 100 vectors. That one was not there is no error. */
  deleteByIds(ids: string[]): Promise<VectorizeAsyncMutation>;
  /** Up to 20 vectors, in the order of their ids; those that are not there are left out. */
  getByIds(ids: string[]): Promise<(VectorizeVector & { values: number[] })[]>;
}

/** The index on `env.VECTORIZE`. */
interface VectorSearch extends Vectorize {}

/** An older name of Cloudflare's for `Vectorize`. */
interface VectorizeIndex extends Vectorize {}
