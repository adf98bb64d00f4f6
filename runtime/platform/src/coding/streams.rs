//! The ops behind `js/platform/compression_streams.ts`.

use std::cell::RefCell;
use std::ffi::CStr;

use aerostack_bindings::{Calls, Held};
use deno_core::convert::Uint8Array;
use deno_core::{GarbageCollected, OpState, op2, v8};

use super::{CodingError, Decoder, Encoder, Format, Members, PIECE_BYTES};

/// The coder of one `CompressionStream` or `DecompressionStream`, and the memory that it takes; none after its end.
pub(crate) struct Codec(RefCell<Option<(Coder, Held)>>);

enum Coder {
    Encoder(Encoder),
    Decoder(Decoder),
}

// SAFETY: it holds nothing of V8's heap.
unsafe impl GarbageCollected for Codec {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static CStr {
        c"Codec"
    }
}

#[op2]
#[cppgc]
pub(crate) fn op_codec_new(state: &mut OpState, #[string] format: &str, decodes: bool) -> Result<Codec, CodingError> {
    let format = Format::of_stream(format).ok_or(CodingError::UnknownFormat)?;
    let bytes = if decodes { DECODER_BYTES } else { Encoder::bytes(format) };
    // Not refused: garbage counts until it is collected, which is asked for when the isolate holds too much.
    let held = state.borrow::<Calls>().memory().hold_anyway(bytes);
    let coder =
        if decodes { Coder::Decoder(Decoder::new(format, Members::One)) } else { Coder::Encoder(Encoder::new(format)) };
    Ok(Codec(RefCell::new(Some((coder, held)))))
}

/// What a decoder takes while it lives, about.
const DECODER_BYTES: usize = 64 * 1024;

/// Codes from the front of `input` until there is a piece of output, and writes into `consumed` how many bytes that took. A decoder
/// that returns a whole piece may have more without more input.
#[op2]
pub(crate) fn op_codec_step(
    #[cppgc] codec: &Codec,
    #[anybuffer] input: &[u8],
    #[buffer] consumed: &mut [u32],
) -> Result<Uint8Array, CodingError> {
    let mut coder = codec.0.borrow_mut();
    let (coder, _) = coder.as_mut().ok_or(CodingError::Closed)?;
    let (taken, output) = match coder {
        Coder::Encoder(encoder) => {
            let taken = input.len().min(PIECE_BYTES);
            (taken, encoder.write(&input[..taken])?)
        }
        Coder::Decoder(decoder) => {
            let (mut rest, mut output) = (input, Vec::new());
            decoder.decode(&mut rest, &mut output, PIECE_BYTES)?;
            (input.len() - rest.len(), output)
        }
    };
    if let Some(consumed) = consumed.first_mut() {
        // A buffer of V8's is shorter than that.
        *consumed = u32::try_from(taken).unwrap_or(u32::MAX);
    }
    Ok(output.into())
}

/// Ends the coding: returns what an encoder has kept; an error where a decoder waits for more.
#[op2]
pub(crate) fn op_codec_finish(#[cppgc] codec: &Codec) -> Result<Uint8Array, CodingError> {
    let (coder, _held) = codec.0.borrow_mut().take().ok_or(CodingError::Closed)?;
    match coder {
        Coder::Encoder(encoder) => encoder.finish().map(Into::into),
        Coder::Decoder(decoder) => decoder.check_complete().map(|()| Vec::new().into()),
    }
}
