// What the engine gives to the scripts of the runtime, for `tsc`. Nothing here exists at run time, and no worker sees any of it.
//
// The engine brings no types that could be imported, so its functions are taken as they are.

interface Bootstrap {
  readonly core: any;
  readonly primordials: any;
}

/** Gone before a worker's first line runs: see `start` in bootstrap.ts. */
declare const __bootstrap: Bootstrap;

declare module "ext:core/mod.js" {
  export const core: Bootstrap["core"];
  export const primordials: Bootstrap["primordials"];
  export const internals: Record<string, unknown>;
}
