//! Arithmetic over plain slices of numbers, for the two transformers.
//!
//! What the processor can do is looked at when a function is called, so that one binary runs everywhere and fast on each. Numbers
//! of several tokens lie row by row, one row a token.

pub(super) mod attention;
mod crew;
pub(super) mod dense;
pub(super) mod threads;
pub(super) mod vectors;

/// Makes a function of plain code that the compiler turns into vector instructions, once for each width of them. Each argument is a
/// name and a type, and there is no value.
macro_rules! vectorised {
    ($(#[$note:meta])* $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$note])*
        $visible fn $name($($argument: $type),*) {
            // Only where it is inlined it gets the instructions of its caller.
            #[inline(always)]
            fn plain($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) {
                    plain($($argument),*);
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has the instructions.
                    return unsafe { avx2($($argument),*) };
                }
            }
            plain($($argument),*);
        }
    };
}
pub(super) use vectorised;
