// `CompressionStream` and `DecompressionStream` (https://compression.spec.whatwg.org). A small chunk may unpack to a thousand times
// its size, so no more is unpacked than somebody takes: what was written waits, and output is made in pieces, as it is read.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayPrototypePush,
  ArrayPrototypeShift,
  ObjectDefineProperty,
  Promise,
  SafeArrayIterator,
  SymbolToStringTag,
  TypeError,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  Uint32Array,
  Uint8Array,
  uncurryThis,
} = primordials;
const ops = core.ops;

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const {
  ReadableStream,
  TransformStream,
  WritableStream,
  WritableStreamDefaultController,
  readableByteStreamControllerEnqueue,
  readableByteStreamControllerError,
  readableByteStreamControllerGetDesiredSize,
} = core.loadExtScript("ext:deno_web/06_streams.js");
const { refuseClone } = core.loadExtScript("ext:aerostack/platform/clones.ts");
const { writtenBytes } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { copyBytes, viewBytes } = core.loadExtScript("ext:aerostack/platform/plain.ts");
const { closeByteStream } = core.loadExtScript("ext:aerostack/platform/body_streams.ts");
const errorOfWritable = uncurryThis(WritableStreamDefaultController.prototype.error);
const getWriterOf = uncurryThis(WritableStream.prototype.getWriter);

// Of output that nobody has read yet, so much is made; a piece may exceed it by its own size.
const READY_BYTES = 16 * 1024;
// How much output makes a whole piece; a decoder may have more behind one.
const PIECE_BYTES = 64 * 1024;

const consumed = new Uint32Array(1);
const EMPTY = new Uint8Array(0);

// Both sides of a stream and the coder between them.
class Coding {
  readable: any;
  writable: any;
  #codec: unknown;
  #reader: any;
  #writer: any;
  // What was written and is not coded yet.
  #waiting: Uint8Array[] = [];
  // Whether the coder has more output even if nothing waits.
  #hasMore = false;
  #isEnded = false;
  #isOver = false;
  // Whoever writes by hand may read later, or close first: its writes are taken at once. A pipe goes no faster than its reader.
  #isWrittenByHand = false;
  #onCoded: (() => void) | undefined;

  constructor(codec: unknown) {
    this.#codec = codec;
    this.readable = new ReadableStream({
      __proto__: null,
      type: "bytes",
      start: (controller: unknown) => {
        this.#reader = controller;
      },
      pull: () => this.#goOn(),
      cancel: (reason: unknown) => {
        this.#end();
        errorOfWritable(this.#writer, reason);
      },
    }, { __proto__: null, highWaterMark: READY_BYTES });
    this.writable = new WritableStream({
      __proto__: null,
      start: (controller: unknown) => {
        this.#writer = controller;
      },
      write: (chunk: unknown) => this.#write(chunk),
      close: () => {
        this.#isEnded = true;
        this.#advance();
      },
      abort: (reason: unknown) => {
        this.#end();
        readableByteStreamControllerError(this.#reader, reason);
      },
    });
    ObjectDefineProperty(this.writable, "getWriter", {
      __proto__: null,
      value: () => {
        this.#isWrittenByHand = true;
        return getWriterOf(this.writable);
      },
      configurable: true,
      enumerable: false,
      writable: true,
    });
  }

  #write(chunk: unknown): Promise<void> | undefined {
    let bytes;
    try {
      bytes = writtenBytes(chunk);
      if (core.isSharedArrayBuffer(TypedArrayPrototypeGetBuffer(bytes))) {
        throw new TypeError("This TransformStream is being used as a byte stream, but received shared memory on its writable side.");
      }
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    if (TypedArrayPrototypeGetByteLength(bytes) === 0) {
      return;
    }
    // A copy: the writer may use its memory again.
    ArrayPrototypePush(this.#waiting, copyBytes(bytes));
    this.#advance();
    if (this.#waiting.length === 0 || this.#isWrittenByHand) {
      return;
    }
    return new Promise((resolve: () => void) => {
      this.#onCoded = resolve;
    });
  }

  // As #advance, for a reader: its read fails, and so does what is written from now on.
  #goOn() {
    try {
      this.#advance();
    } catch {
      // Both sides have the error.
    }
  }

  // Codes until there is output enough, or nothing left to code. Throws what both sides fail with.
  #advance() {
    try {
      while (!this.#isOver && readableByteStreamControllerGetDesiredSize(this.#reader) > 0) {
        if (this.#waiting.length > 0 || this.#hasMore) {
          this.#step();
        } else if (this.#isEnded) {
          this.#finish();
        } else {
          break;
        }
      }
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    if (this.#waiting.length === 0) {
      this.#release();
    }
  }

  #step() {
    const input = this.#waiting.length > 0 ? this.#waiting[0] : EMPTY;
    const output = ops.op_codec_step(this.#codec, input, consumed);
    const length = TypedArrayPrototypeGetByteLength(output);
    this.#hasMore = length === PIECE_BYTES;
    if (consumed[0] === TypedArrayPrototypeGetByteLength(input)) {
      ArrayPrototypeShift(this.#waiting);
    } else {
      this.#waiting[0] = viewBytes(input, consumed[0]);
    }
    if (length > 0) {
      readableByteStreamControllerEnqueue(this.#reader, output);
    }
  }

  #finish() {
    const rest = ops.op_codec_finish(this.#codec);
    // Before the reader has the rest: it may ask for more at once.
    this.#end();
    if (TypedArrayPrototypeGetByteLength(rest) > 0) {
      readableByteStreamControllerEnqueue(this.#reader, rest);
    }
    closeByteStream(this.#reader);
  }

  #fail(error: unknown) {
    this.#end();
    readableByteStreamControllerError(this.#reader, error);
    errorOfWritable(this.#writer, error);
  }

  #end() {
    this.#isOver = true;
    this.#waiting = [];
    this.#codec = undefined;
    this.#release();
  }

  #release() {
    const onCoded = this.#onCoded;
    this.#onCoded = undefined;
    onCoded?.();
  }
}

function codecFor(name: string, format: unknown, decodes: boolean) {
  return ops.op_codec_new(webidl.converters.DOMString(format, `Failed to construct '${name}'`, "Argument 1"), decodes);
}

class CompressionStream extends TransformStream {
  #coding: Coding;

  constructor(format: string) {
    webidl.requiredArguments(arguments.length, 1, "Failed to construct 'CompressionStream'");
    const codec = codecFor("CompressionStream", format, false);
    super(webidl.brand);
    // TransformStream has its instances moved.
    (this as any)[core.hostObjectBrand] = refuseClone;
    this.#coding = new Coding(codec);
  }

  get readable() {
    return this.#coding.readable;
  }

  get writable() {
    return this.#coding.writable;
  }
}

class DecompressionStream extends TransformStream {
  #coding: Coding;

  constructor(format: string) {
    webidl.requiredArguments(arguments.length, 1, "Failed to construct 'DecompressionStream'");
    const codec = codecFor("DecompressionStream", format, true);
    super(webidl.brand);
    // TransformStream has its instances moved.
    (this as any)[core.hostObjectBrand] = refuseClone;
    this.#coding = new Coding(codec);
  }

  get readable() {
    return this.#coding.readable;
  }

  get writable() {
    return this.#coding.writable;
  }
}

for (const Stream of new SafeArrayIterator([CompressionStream, DecompressionStream])) {
  ObjectDefineProperty(Stream.prototype, SymbolToStringTag, {
    __proto__: null,
    value: Stream.name,
    configurable: true,
    enumerable: false,
    writable: false,
  });
  for (const side of new SafeArrayIterator(["readable", "writable"])) {
    ObjectDefineProperty(Stream.prototype, side, { __proto__: null, enumerable: true });
  }
}

return { CompressionStream, DecompressionStream };
})();
