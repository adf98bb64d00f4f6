// Bytes, whatever they are handed over as.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayBufferIsView,
  ArrayBufferPrototypeGetByteLength,
  DataViewPrototypeGetBuffer,
  DataViewPrototypeGetByteLength,
  DataViewPrototypeGetByteOffset,
  TypeError,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeGetByteOffset,
  TypedArrayPrototypeGetSymbolToStringTag,
  Uint8Array,
} = primordials;

// Of the memory that `value` stands for, without a copy, or undefined where it is no buffer.
function bytesOf(value: any): Uint8Array | undefined {
  if (ArrayBufferIsView(value)) {
    const name = TypedArrayPrototypeGetSymbolToStringTag(value);
    if (name === "Uint8Array") {
      return value;
    }
    return name === undefined
      ? new Uint8Array(
        DataViewPrototypeGetBuffer(value),
        DataViewPrototypeGetByteOffset(value),
        DataViewPrototypeGetByteLength(value),
      )
      : new Uint8Array(
        TypedArrayPrototypeGetBuffer(value),
        TypedArrayPrototypeGetByteOffset(value),
        TypedArrayPrototypeGetByteLength(value),
      );
  }
  return core.isArrayBuffer(value) ? new Uint8Array(value, 0, ArrayBufferPrototypeGetByteLength(value)) : undefined;
}

// Of what was written to a byte stream.
function writtenBytes(chunk: unknown): Uint8Array {
  const bytes = bytesOf(chunk);
  if (bytes === undefined) {
    const received = typeof chunk === "string"
      ? "a string on its writable side. If you wish to write a string, you'll probably want to explicitly UTF-8-encode it with TextEncoder."
      : "an object of non-ArrayBuffer/ArrayBufferView type on its writable side.";
    throw new TypeError(`This TransformStream is being used as a byte stream, but received ${received}`);
  }
  return bytes;
}

return { bytesOf, writtenBytes };
})();
