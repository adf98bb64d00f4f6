// Calls of crypto.subtle copy what they are given for a thread of the isolate's pool. Much of it counts until the call is done.
// Evaluates to { callCounted, countArguments }.

(function () {
const { core, primordials } = __bootstrap;
const { FunctionPrototypeApply, ObjectDefineProperty, TypedArrayPrototypeGetByteLength } = primordials;
const { bytesOf } = core.loadExtScript("ext:aerostack/platform/bytes.ts");
const { op_hold_bytes, op_release_bytes } = core.ops;

const METHODS = ["decrypt", "digest", "encrypt", "sign", "verify"];

// Less than this is not worth a count (`Memory::FREE`).
const FREE_BYTES = 64 * 1024;

type Method = (...args: unknown[]) => Promise<unknown>;

function bytesGiven(args: unknown[]) {
  let bytes = 0;
  for (let i = 0; i < args.length; i++) {
    const given = bytesOf(args[i]);
    if (given !== undefined) bytes += TypedArrayPrototypeGetByteLength(given);
  }
  return bytes;
}

// Calls a method, and counts so many bytes until it is done.
async function callCounted(bytes: number, method: Method, receiver: unknown, args: unknown[]) {
  const held = op_hold_bytes(bytes);
  try {
    return await FunctionPrototypeApply(method, receiver, args);
  } finally {
    op_release_bytes(held);
  }
}

function counted(method: Method): Method {
  function call(this: unknown, ...args: unknown[]) {
    const bytes = bytesGiven(args);
    return bytes > FREE_BYTES ? callCounted(bytes, method, this, args) : FunctionPrototypeApply(method, this, args);
  }
  ObjectDefineProperty(call, "name", { __proto__: null, value: method.name, configurable: true });
  ObjectDefineProperty(call, "length", { __proto__: null, value: method.length, configurable: true });
  return call;
}

// Has what the methods of SubtleCrypto's prototype are given count.
function countArguments(prototype: Record<string, Method>) {
  for (let i = 0; i < METHODS.length; i++) {
    const name = METHODS[i];
    ObjectDefineProperty(prototype, name, { __proto__: null, value: counted(prototype[name]) });
  }
}

return { callCounted, countArguments };
})();
