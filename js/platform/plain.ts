// Copies of arrays and bytes, and the end of promises, as if nobody had replaced `Symbol.species` of Array, %TypedArray% and Promise:
// the built-ins that do the same ask it what to make.

(function () {
const { primordials } = __bootstrap;
const { TypedArrayPrototypeGetBuffer, TypedArrayPrototypeGetByteLength, TypedArrayPrototypeGetByteOffset, Uint8Array } = primordials;

function sliceArray(array: unknown[], start = 0, end = array.length): unknown[] {
  const part: unknown[] = [];
  const last = end < array.length ? end : array.length;
  for (let i = start, place = 0; i < last; i++, place++) {
    part[place] = array[i];
  }
  return part;
}

function mapArray(array: unknown[], map: (value: any) => unknown): unknown[] {
  const mapped: unknown[] = [];
  for (let i = 0; i < array.length; i++) {
    mapped[i] = map(array[i]);
  }
  return mapped;
}

function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

// The bytes from one place to before another, in the same memory. Both lie within.
function viewBytes(bytes: Uint8Array, from: number, to = TypedArrayPrototypeGetByteLength(bytes)): Uint8Array {
  return new Uint8Array(TypedArrayPrototypeGetBuffer(bytes), TypedArrayPrototypeGetByteOffset(bytes) + from, to - from);
}

// Has nobody told of what the promise may fail with.
async function ignoreFailure(promise: Promise<unknown>) {
  try {
    await promise;
  } catch {
    // Whoever called knows a better reason.
  }
}

return { copyBytes, ignoreFailure, mapArray, sliceArray, viewBytes };
})();
