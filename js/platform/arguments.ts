// The arguments of the objects on `env`, refused in the words of workerd.

(function () {
const { primordials } = __bootstrap;
const { MathTrunc, NumberIsFinite, TypeError } = primordials;

// Names a method in messages.
type Method = { name: string; of: string };

function refused(place: number, method: Method, type: string) {
  return new TypeError(`Failed to execute '${method.name}' on '${method.of}': parameter ${place} is not of type '${type}'.`);
}

// Refuses a call with fewer arguments than `place`, which is counted from one.
function requireArgument(count: number, place: number, method: Method, type: string) {
  if (count < place) throw refused(place, method, type);
}

const isObject = (value: unknown) => (typeof value === "object" && value !== null) || typeof value === "function";

// Refuses what can hold no members. An argument that was left out holds none.
function checkOptions(value: unknown, place: number, method: Method, type: string) {
  if (value !== undefined && value !== null && !isObject(value)) throw refused(place, method, type);
}

// Of a member that has another type than it may.
function wrongField(field: string, of: string, type: string) {
  return new TypeError(`Incorrect type for the '${field}' field on '${of}': the provided value is not of type '${type}'.`);
}

// A whole number of 32 bits. What is no number is 0.
function toInteger(value: any): number {
  const number = +value;
  if (!NumberIsFinite(number)) return 0;
  if (number < -2147483648 || number > 2147483647) {
    throw new TypeError("Value out of range. Must be between -2147483648 and 2147483647 (inclusive).");
  }
  return MathTrunc(number);
}

return { checkOptions, isObject, refused, requireArgument, toInteger, wrongField };
})();
