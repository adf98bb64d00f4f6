use std::io::Write as _;

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::{CodingError, Format};

/// What servers use that compress while they answer: about as fast as gzip, and smaller.
const BROTLI_QUALITY: u32 = 5;
/// A window of 256 KiB, as much as a stream may hold of what it has seen.
const BROTLI_WINDOW_BITS: u32 = 18;

/// Applies one coding.
pub(crate) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zlib(ZlibEncoder<Vec<u8>>),
    Deflate(DeflateEncoder<Vec<u8>>),
    Brotli(Box<BrotliEncoderStateStruct<StandardAlloc>>),
}

impl Encoder {
    /// What one takes while it lives, about: zlib's state, or brotli's with its hashes and its window.
    pub(crate) fn bytes(format: Format) -> usize {
        match format {
            Format::Gzip | Format::Zlib | Format::Deflate => 300 * 1024,
            Format::Brotli => 1024 * 1024,
        }
    }

    pub(crate) fn new(format: Format) -> Self {
        let level = Compression::default();
        match format {
            Format::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), level)),
            Format::Zlib => Self::Zlib(ZlibEncoder::new(Vec::new(), level)),
            Format::Deflate => Self::Deflate(DeflateEncoder::new(Vec::new(), level)),
            Format::Brotli => {
                let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
                state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, BROTLI_QUALITY);
                state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, BROTLI_WINDOW_BITS);
                Self::Brotli(Box::new(state))
            }
        }
    }

    /// Encodes more. Returns what that has come to; some of it may be kept until there is more.
    pub(crate) fn write(&mut self, plain: &[u8]) -> Result<Vec<u8>, CodingError> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(plain).map(|()| std::mem::take(encoder.get_mut())),
            Self::Zlib(encoder) => encoder.write_all(plain).map(|()| std::mem::take(encoder.get_mut())),
            Self::Deflate(encoder) => encoder.write_all(plain).map(|()| std::mem::take(encoder.get_mut())),
            Self::Brotli(state) => return brotli(state, plain, BrotliEncoderOperation::BROTLI_OPERATION_PROCESS),
        }
        .map_err(|_| CodingError::NotEncoded)
    }

    /// Everything that was kept, so that all that was written can be decoded.
    pub(crate) fn flush(&mut self) -> Result<Vec<u8>, CodingError> {
        match self {
            Self::Gzip(encoder) => encoder.flush().map(|()| std::mem::take(encoder.get_mut())),
            Self::Zlib(encoder) => encoder.flush().map(|()| std::mem::take(encoder.get_mut())),
            Self::Deflate(encoder) => encoder.flush().map(|()| std::mem::take(encoder.get_mut())),
            Self::Brotli(state) => return brotli(state, &[], BrotliEncoderOperation::BROTLI_OPERATION_FLUSH),
        }
        .map_err(|_| CodingError::NotEncoded)
    }

    /// The end of the data.
    pub(crate) fn finish(self) -> Result<Vec<u8>, CodingError> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zlib(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
            Self::Brotli(mut state) => {
                return brotli(&mut state, &[], BrotliEncoderOperation::BROTLI_OPERATION_FINISH);
            }
        }
        .map_err(|_| CodingError::NotEncoded)
    }
}

fn brotli(
    state: &mut BrotliEncoderStateStruct<StandardAlloc>,
    plain: &[u8],
    operation: BrotliEncoderOperation,
) -> Result<Vec<u8>, CodingError> {
    const STEP_BYTES: usize = 4 * 1024;
    let (mut available, mut consumed) = (plain.len(), 0);
    let (mut coded, mut produced) = (Vec::new(), 0);
    loop {
        coded.resize(produced + STEP_BYTES, 0);
        let mut room = STEP_BYTES;
        let is_valid = state.compress_stream(
            operation,
            &mut available,
            plain,
            &mut consumed,
            &mut room,
            &mut coded,
            &mut produced,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !is_valid {
            return Err(CodingError::NotEncoded);
        }
        let is_finishing = matches!(operation, BrotliEncoderOperation::BROTLI_OPERATION_FINISH);
        if available == 0 && !state.has_more_output() && (!is_finishing || state.is_finished()) {
            coded.truncate(produced);
            return Ok(coded);
        }
    }
}
