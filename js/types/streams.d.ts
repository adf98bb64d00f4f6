// The streams that the runtime has beside those of the web platform.

interface IdentityTransformStreamQueuingStrategy {
  /** How many chunks may wait for the reader; 1 where nothing is said. */
  highWaterMark?: number;
}

/** Gives the bytes that it takes. Its readable side can be read with BYOB. */
declare class IdentityTransformStream extends TransformStream<ArrayBuffer | ArrayBufferView, Uint8Array> {
  constructor(queuingStrategy?: IdentityTransformStreamQueuingStrategy);
}

/** Gives the bytes that it takes, exactly as many as announced. A response made of it has a `Content-Length`. */
declare class FixedLengthStream extends IdentityTransformStream {
  constructor(expectedLength: number | bigint, queuingStrategy?: IdentityTransformStreamQueuingStrategy);
}
