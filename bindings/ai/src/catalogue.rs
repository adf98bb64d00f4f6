//! The `@cf/...` names this build knows, and the public files that stand for them.
