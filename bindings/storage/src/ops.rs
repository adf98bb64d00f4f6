//! The ops behind `js/bindings/storage.ts`. The only file here that knows V8.
