// `IdentityTransformStream` and `FixedLengthStream`: byte streams that give what they take, the second with a length that
// whoever reads it can know in advance. https://developers.cloudflare.com/workers/runtime-apis/streams/transformstream/

(function () {
const { core, primordials } = __bootstrap;
const {
  Number,
  NumberIsSafeInteger,
  Promise,
  SymbolToStringTag,
  TypeError,
  TypedArrayPrototypeGetByteLength,
  uncurryThis,
} = primordials;

const {
  ReadableStream,
  TransformStream,
  WritableStream,
  WritableStreamDefaultController,
  readableByteStreamControllerEnqueue,
  readableByteStreamControllerError,
} = core.loadExtScript("ext:deno_web/06_streams.js");
const { writtenBytes } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { copyBytes } = core.loadExtScript("ext:aerostack/platform/plain.ts");
const { closeByteStream, noteLength } = core.loadExtScript("ext:aerostack/platform/body_streams.ts");
const errorOfWritable = uncurryThis(WritableStreamDefaultController.prototype.error);

// Both sides of a stream. A write waits until somebody wants to read, so nothing is kept in between.
class Passage {
  readable: any;
  writable: any;
  #reader: any;
  #writer: any;
  #isWanted = false;
  #onWanted: (() => void) | undefined;
  #passed = 0;
  #length: number | undefined;

  constructor(strategy: any) {
    this.readable = new ReadableStream({
      __proto__: null,
      type: "bytes",
      start: (controller: unknown) => {
        this.#reader = controller;
      },
      pull: () => {
        this.#isWanted = true;
        this.#goOn();
      },
      cancel: (reason: unknown) => {
        errorOfWritable(this.#writer, reason);
        this.#goOn();
      },
    });
    this.writable = new WritableStream(
      {
        __proto__: null,
        start: (controller: unknown) => {
          this.#writer = controller;
        },
        write: (chunk: unknown) => this.#write(chunk),
        close: () => this.#close(),
        abort: (reason: unknown) => {
          readableByteStreamControllerError(this.#reader, reason);
        },
      },
      { __proto__: null, highWaterMark: strategy?.highWaterMark ?? 1 },
    );
  }

  // Only so many bytes may pass, and as many must.
  expect(length: number) {
    this.#length = length;
    noteLength(this.readable, length);
  }

  #goOn() {
    const onWanted = this.#onWanted;
    this.#onWanted = undefined;
    onWanted?.();
  }

  async #write(chunk: any) {
    try {
      const bytes = this.#accepted(chunk);
      if (TypedArrayPrototypeGetByteLength(bytes) === 0) {
        return;
      }
      if (!this.#isWanted) {
        await new Promise((resolve: () => void) => {
          this.#onWanted = resolve;
        });
      }
      if (!this.#isWanted) {
        // The reader has gone meanwhile, and the writable side has its error.
        return;
      }
      this.#isWanted = false;
      // A copy: the writer may use its memory again.
      readableByteStreamControllerEnqueue(this.#reader, copyBytes(bytes));
    } catch (error) {
      readableByteStreamControllerError(this.#reader, error);
      throw error;
    }
  }

  #accepted(chunk: any): Uint8Array {
    const bytes = writtenBytes(chunk);
    this.#passed += TypedArrayPrototypeGetByteLength(bytes);
    if (this.#length !== undefined && this.#passed > this.#length) {
      throw new TypeError("Attempt to write too many bytes through a FixedLengthStream.");
    }
    return bytes;
  }

  #close() {
    if (this.#length !== undefined && this.#passed < this.#length) {
      const error = new TypeError("FixedLengthStream did not see all expected bytes before close().");
      readableByteStreamControllerError(this.#reader, error);
      throw error;
    }
    closeByteStream(this.#reader);
  }
}

class IdentityTransformStream extends TransformStream {
  #passage: Passage;

  constructor(queuingStrategy: any = undefined) {
    super();
    this.#passage = new Passage(queuingStrategy);
  }

  get readable() {
    return this.#passage.readable;
  }

  get writable() {
    return this.#passage.writable;
  }

  get [SymbolToStringTag]() {
    return "IdentityTransformStream";
  }

  static passage(stream: IdentityTransformStream) {
    return stream.#passage;
  }
}
const passageOf = IdentityTransformStream.passage;
delete (IdentityTransformStream as any).passage;

class FixedLengthStream extends IdentityTransformStream {
  constructor(expectedLength: number | bigint, queuingStrategy: any = undefined) {
    const length = Number(expectedLength);
    if (!NumberIsSafeInteger(length) || length < 0) {
      throw new TypeError("FixedLengthStream requires an integer expected length less than 2^53.");
    }
    super(queuingStrategy);
    passageOf(this).expect(length);
  }

  get [SymbolToStringTag]() {
    return "FixedLengthStream";
  }
}

return { FixedLengthStream, IdentityTransformStream };
})();
