// Bytes, whatever they are handed over as.

(function () {
const { core, primordials } = __bootstrap;
const {
  ArrayBufferIsView,
  ArrayBufferPrototypeGetByteLength,
  DataViewPrototypeGetBuffer,
  DataViewPrototypeGetByteLength,
  DataViewPrototypeGetByteOffset,
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

return { bytesOf };
})();
