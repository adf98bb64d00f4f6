// What V8 adds to errors.

/** One line of a stack. */
interface CallSite {
  getFunctionName(): string | null;
  getTypeName(): string | null;
  getMethodName(): string | null;
  getFileName(): string | null;
  getLineNumber(): number | null;
  getColumnNumber(): number | null;
  /** Nothing of whoever called: `undefined`. */
  getFunction(): unknown;
  /** Nothing of whoever called: `undefined`, or the global object. */
  getThis(): unknown;
  isAsync(): boolean;
  isConstructor(): boolean;
  isEval(): boolean;
  isNative(): boolean;
  isPromiseAll(): boolean;
  isToplevel(): boolean;
}

interface ErrorConstructor {
  /** Gives an object a `stack` that begins at the caller of `constructor`, or here. */
  captureStackTrace(object: object, constructor?: Function): void;
  /** What `stack` becomes, where a worker sets it. */
  prepareStackTrace(error: Error, frames: CallSite[]): any;
  /** How many lines a stack has. */
  stackTraceLimit: number;
}
