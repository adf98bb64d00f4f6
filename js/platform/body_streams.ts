// Streams as bodies. deno_web's and deno_fetch's own are changed here where Workers' differ, before the scripts that take them are
// loaded: a body that was given as text or bytes is a byte stream, chunks may be any buffer, and a stream's length stays known when
// it is passed on, cloned or split in two.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayPrototypePush,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  PromisePrototypeThen,
  SafeWeakMap,
  String,
  TypeError,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeSet,
  Uint8Array,
  WeakMapPrototypeGet,
  WeakMapPrototypeSet,
  uncurryThis,
} = primordials;
// Late bound: ops taken while the snapshot is baked stay on V8's slow path for ever.
const ops = core.ops;

const streams = core.loadExtScript("ext:deno_web/06_streams.js");
const { Blob, getParts } = core.loadExtScript("ext:deno_web/09_file.js");
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { copyBytes, ignoreFailure } = core.loadExtScript("ext:aerostack/platform/plain.ts");
const {
  acquireReadableStreamDefaultReader,
  createReadableByteStream,
  getReadableStreamResourceBacking,
  isReadableStream,
  isReadableStreamDisturbed,
  isReadableStreamLocked,
  readableByteStreamControllerClose,
  readableByteStreamControllerEnqueue,
  readableStreamDisturb,
  readableStreamForRid,
  readableStreamReaderGenericCancel,
} = streams;
const {
  createProxy: proxyThroughTransform,
  readableStreamCollectIntoUint8Array: collectResource,
  readableStreamTee: teeInTwo,
} = streams;
const readOfReader = uncurryThis(streams.ReadableStreamDefaultReader.prototype.read);
const respondToRequest = uncurryThis(streams.ReadableStreamBYOBRequest.prototype.respond);
const byobRequestOf = uncurryThis(
  ObjectGetOwnPropertyDescriptor(streams.ReadableByteStreamController.prototype, "byobRequest").get,
);

const NOT_BYTES = "This ReadableStream did not return bytes.";

function closeByteStream(controller: unknown) {
  readableByteStreamControllerClose(controller);
  // A reader that brought its own memory is still waiting for something in it.
  const request = byobRequestOf(controller);
  if (request !== null) {
    respondToRequest(request, 0);
  }
}

// The length of what a stream gives, as long as nobody has read from it.
const lengths = new SafeWeakMap();

function noteLength(stream: unknown, length: number) {
  WeakMapPrototypeSet(lengths, stream, length);
}

// How many bytes a stream will give, where that is known: undefined once somebody has read from it.
function lengthOf(stream: any): number | undefined {
  if (isReadableStreamDisturbed(stream)) {
    return undefined;
  }
  const noted = WeakMapPrototypeGet(lengths, stream);
  if (noted !== undefined) {
    return noted;
  }
  const backing = getReadableStreamResourceBacking(stream);
  if (backing) {
    const length = ops.op_resource_length(backing.rid);
    return length < 0 ? undefined : length;
  }
  return undefined;
}

// Text or bytes behind a body that nobody has read, where there is no more to it: undefined for a stream that somebody makes.
function staticSourceOf(stream: any): string | Uint8Array | undefined {
  if (isReadableStreamLocked(stream) || isReadableStreamDisturbed(stream)) {
    return undefined;
  }
  const { streamOrStatic } = core.loadExtScript("ext:deno_fetch/22_body.js").extractBody(stream).body;
  return streamOrStatic.consumed === false ? streamOrStatic.body : undefined;
}

function lengthOfSource(source: string | Uint8Array): number {
  return TypedArrayPrototypeGetByteLength(typeof source === "string" ? core.encode(source) : source);
}

// Not in every worker: compiled at its first use, outside the snapshot, which every isolate pays for.
core.loadExtScript("ext:deno_fetch/21_formdata.js").parseFormData = (bytes: Uint8Array, boundary: string | undefined) =>
  core.loadExtScript("ext:aerostack/platform/form_data.ts").parseFormData(bytes, boundary);

// A body that is text or bytes becomes a stream: of bytes, as on Workers. The only caller is deno_fetch's body, whose `pull` gives
// all of it at once and closes.
streams.createReadableStream = (
  start: () => void,
  pull: (controller: { enqueue: (chunk: Uint8Array) => void; close: () => void }) => void,
  cancel: (reason: unknown) => Promise<void>,
) =>
  createReadableByteStream(start, (controller: unknown) => {
    pull({
      enqueue(chunk: Uint8Array) {
        if (TypedArrayPrototypeGetByteLength(chunk) > 0) {
          // A copy: the stream gives its memory away, and a clone of the body may have the same.
          readableByteStreamControllerEnqueue(controller, copyBytes(chunk));
        }
      },
      close: () => closeByteStream(controller),
    });
  }, cancel);

// Streams that stand for another, whose end would close the resource that both are over.
const predecessors = new SafeWeakMap();

// The body of a request that becomes that of another.
streams.createProxy = (stream: any) => {
  const length = lengthOf(stream);
  const backing = getReadableStreamResourceBacking(stream);
  if (backing && !isReadableStreamDisturbed(stream)) {
    acquireReadableStreamDefaultReader(stream);
    readableStreamDisturb(stream);
    const successor = readableStreamForRid(backing.rid, backing.autoClose);
    WeakMapPrototypeSet(predecessors, successor, stream);
    return successor;
  }
  const proxy = proxyThroughTransform(stream);
  if (length !== undefined) {
    noteLength(proxy, length);
  }
  return proxy;
};

function withLength<Branches extends [unknown, unknown]>(stream: any, split: () => Branches): Branches {
  let length = lengthOf(stream);
  if (length === undefined) {
    const source = staticSourceOf(stream);
    length = source === undefined ? undefined : lengthOfSource(source);
  }
  const branches = split();
  if (length !== undefined) {
    noteLength(branches[0], length);
    noteLength(branches[1], length);
  }
  return branches;
}

// Of a clone.
streams.readableStreamTee = (stream: unknown, cloneForBranch2: boolean) =>
  withLength(stream, () => teeInTwo(stream, cloneForBranch2));

const teeOf = uncurryThis(streams.ReadableStream.prototype.tee);
const sizeOfBlob = uncurryThis(ObjectGetOwnPropertyDescriptor(Blob.prototype, "size").get);
const methods = {
  tee(this: unknown) {
    return isReadableStream(this) ? withLength(this, () => teeOf(this)) : teeOf(this);
  },
};
ObjectDefineProperty(streams.ReadableStream.prototype, "tee", { __proto__: null, value: methods.tee });

// Gives what a blob holds, part after part. deno_web's methods go through generators, whose prototypes user code can
// replace.
function readerOfBlob(blob: unknown): () => Promise<Uint8Array | undefined> {
  // The parts last only as long as their blob.
  const source = { __proto__: null, blob, parts: getParts(blob), next: 0 };
  return async () => {
    while (source.next < source.parts.length) {
      const bytes = await ops.op_blob_read_part(source.parts[source.next++]);
      if (TypedArrayPrototypeGetByteLength(bytes) > 0) return bytes;
    }
    return undefined;
  };
}

async function bytesOfBlob(blob: unknown): Promise<Uint8Array> {
  const all = new Uint8Array(sizeOfBlob(blob));
  const read = readerOfBlob(blob);
  let offset = 0;
  for (let bytes = await read(); bytes !== undefined; bytes = await read()) {
    TypedArrayPrototypeSet(all, bytes, offset);
    offset += TypedArrayPrototypeGetByteLength(bytes);
  }
  return all;
}

const blobMethods = {
  stream(this: unknown) {
    const length = sizeOfBlob(this);
    const read = readerOfBlob(this);
    const pull = async (controller: unknown) => {
      const bytes = await read();
      if (bytes === undefined) closeByteStream(controller);
      else readableByteStreamControllerEnqueue(controller, bytes);
    };
    const stream = createReadableByteStream(() => {}, pull, async () => {});
    noteLength(stream, length);
    return stream;
  },
  async text(this: unknown) {
    return core.decode(await bytesOfBlob(this));
  },
  async arrayBuffer(this: unknown) {
    return TypedArrayPrototypeGetBuffer(await bytesOfBlob(this));
  },
  async bytes(this: unknown) {
    return await bytesOfBlob(this);
  },
};
for (const name of ["stream", "text", "arrayBuffer", "bytes"] as const) {
  ObjectDefineProperty(Blob.prototype, name, { __proto__: null, value: blobMethods[name] });
}

// All of a body, as its methods `text`, `json` ... read it: buffers of any kind, and no strings.
streams.readableStreamCollectIntoUint8Array = async (stream: any) => {
  if (getReadableStreamResourceBacking(stream) && !isReadableStreamDisturbed(stream)) {
    return await collectResource(stream);
  }
  const reader = acquireReadableStreamDefaultReader(stream);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (let read = await readOfReader(reader); !read.done; read = await readOfReader(reader)) {
    const bytes = bytesOf(read.value);
    if (bytes === undefined) {
      const error = new TypeError(NOT_BYTES);
      ignoreFailure(readableStreamReaderGenericCancel(reader, error));
      throw error;
    }
    length += TypedArrayPrototypeGetByteLength(bytes);
    ArrayPrototypePush(chunks, bytes);
  }
  const all = new Uint8Array(length);
  let end = 0;
  for (let place = 0; place < chunks.length; place++) {
    TypedArrayPrototypeSet(all, chunks[place], end);
    end += TypedArrayPrototypeGetByteLength(chunks[place]);
  }
  return all;
};

// What `op_readable_stream_resource_write_sync` says of a chunk.
const CLOSED = 0;
const FULL = 2;

// A resource that gives what a stream does: a body on its way out, to a client or with a `fetch`. Text is sent as UTF-8. `onError` is
// told what the stream fails with, which the resource can only give as text.
streams.resourceForReadableStream = (
  stream: unknown,
  length: number | null | undefined = undefined,
  onError: ((error: unknown) => void) | undefined = undefined,
): number => {
  const reader = acquireReadableStreamDefaultReader(stream);
  const resource = typeof length === "number"
    ? ops.op_readable_stream_resource_allocate_sized(length)
    : ops.op_readable_stream_resource_allocate();
  const cancel = (reason: unknown) => ignoreFailure(readableStreamReaderGenericCancel(reader, reason));
  PromisePrototypeThen(ops.op_readable_stream_resource_await_close(resource), () => cancel("resource closed"));
  pump(reader, ops.op_readable_stream_resource_get_sink(resource), cancel, onError);
  return resource;
};

async function pump(
  reader: unknown,
  sink: unknown,
  cancel: (reason: unknown) => void,
  onError: ((error: unknown) => void) | undefined,
) {
  try {
    for (let read = await readOfReader(reader); !read.done; read = await readOfReader(reader)) {
      const bytes = typeof read.value === "string" ? core.encode(read.value) : bytesOf(read.value);
      if (bytes === undefined) {
        throw new TypeError(NOT_BYTES);
      }
      if (TypedArrayPrototypeGetByteLength(bytes) === 0) {
        continue;
      }
      let outcome = ops.op_readable_stream_resource_write_sync(sink, bytes);
      if (outcome === FULL) {
        outcome = await ops.op_readable_stream_resource_write_buf(sink, bytes) ? FULL : CLOSED;
      }
      if (outcome === CLOSED) {
        cancel("resource closed");
        break;
      }
    }
  } catch (error) {
    onError?.(error);
    ops.op_readable_stream_resource_write_error(sink, textOf(error));
    cancel(error);
  }
  ops.op_readable_stream_resource_close(sink);
}

function textOf(error: any): string {
  try {
    return String(error);
  } catch {
    return "the stream failed with what has no text";
  }
}

return { closeByteStream, lengthOf, noteLength, staticSourceOf };
})();
