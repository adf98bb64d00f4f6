// The streams that the runtime has beside those of the web platform, and what TypeScript's library leaves out of the latter.

interface ReadableStream<R = any> {
  /** The chunks, one after the other: `for await (const chunk of request.body)`. */
  [Symbol.asyncIterator](options?: { preventCancel?: boolean }): AsyncIterableIterator<R>;
  /** The same, with the choice to leave the rest of the stream readable. */
  values(options?: { preventCancel?: boolean }): AsyncIterableIterator<R>;
}

// TypeScript's library declares `ReadableStream` as a variable of a type without a name, which nothing can be added to. What all
// constructors have can be added to, and `this` says which of them has it.
interface NewableFunction {
  /** A stream of what an iterable yields. */
  from<R>(this: typeof ReadableStream, iterable: Iterable<R | PromiseLike<R>> | AsyncIterable<R>): ReadableStream<R>;
}

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
