// The worker's console: inspected in V8, printed by the runtime's log with the request it belongs to.

(function () {
const { core, primordials } = __bootstrap;
const {
  ErrorCaptureStackTrace,
  ErrorPrototype,
  ObjectPrototypeIsPrototypeOf,
  ReflectGetOwnPropertyDescriptor,
  ReflectOwnKeys,
} = primordials;
const { op_console_print, op_report_uncaught } = core.ops;
const { Console, inspect, inspectArgs, setNoColorFns } = core.loadExtScript("ext:deno_web/01_console.js");

// The log decides about colour; what it is given is plain.
const withoutColour = () => true;
setNoColorFns(withoutColour, withoutColour);

const ERROR = 3;

// The invocation that is running, or 0: dispatch stores its id as the async context, which V8 carries across awaits.
function currentInvocation(): number {
  const context = core.getAsyncContext();
  return typeof context === "number" ? context : 0;
}

const console = new Console((message: string, level: number) => {
  op_console_print(currentInvocation(), level, message);
});

// As Deno's, without the empty line that it prints after each.
console.trace = function trace(...values: unknown[]) {
  const traced = { name: "Trace", message: inspectArgs(values), stack: "" };
  ErrorCaptureStackTrace(traced, trace);
  op_console_print(currentInvocation(), ERROR, traced.stack);
};

// Logs an error nobody caught. The request it belongs to is not failed by it.
function reportUncaught(error: unknown, isRejection: boolean) {
  op_report_uncaught(currentInvocation(), error, isRejection);
}

// Thrown values are shown whole up to this many properties, and with texts of this length: the text is made outside of the heap.
const MOST_PROPERTIES = 200;
const INSPECTED = { __proto__: null, depth: 2, iterableLimit: 20, maxArrayLength: 20, maxStringLength: 256 };

// Counts the properties that would be shown; a negative answer means that there are too many.
function propertiesLeft(value: unknown, left: number, depth: number): number {
  if (typeof value !== "object" || value === null || depth > INSPECTED.depth) {
    return left;
  }
  const keys = ReflectOwnKeys(value);
  left -= keys.length;
  for (let i = 0; i < keys.length && left >= 0; i++) {
    left = propertiesLeft(ReflectGetOwnPropertyDescriptor(value, keys[i])?.value, left, depth + 1);
  }
  return left;
}

// How a value that was thrown and is no Error reads in the log; null leaves Errors to the runtime.
function formatThrown(value: unknown): string | null {
  if (ObjectPrototypeIsPrototypeOf(ErrorPrototype, value)) {
    return null;
  }
  try {
    return propertiesLeft(value, MOST_PROPERTIES, 0) < 0 ? null : `Uncaught ${inspect(value, INSPECTED)}`;
  } catch {
    return null; // A proxy or an inspect method of the value threw.
  }
}

return { console, currentInvocation, formatThrown, reportUncaught };
})();
