use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::gzip::{Header, Progress};
use super::{CodingError, Format};

/// What may follow the end of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// Nothing: the Compression standard.
    One,
    /// More members of gzip (RFC 1952, section 2.2); anything else is not looked at, as in every HTTP client.
    Any,
}

/// Undoes one coding.
pub(crate) struct Decoder {
    stage: Stage,
    engine: Engine,
    members: Members,
    /// A member of gzip has ended, and another may follow.
    is_past_a_member: bool,
}

enum Stage {
    Header(Header),
    Data,
    /// What gzip has after its data: a checksum and a length, of which so many bytes have arrived.
    Trailer([u8; 8], usize),
    End,
}

enum Engine {
    Gzip(Decompress, Crc),
    Deflate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
}

/// How much memory is made ready at once.
const STEP_BYTES: usize = 16 * 1024;

impl Decoder {
    pub(crate) fn new(format: Format, members: Members) -> Self {
        let engine = match format {
            Format::Gzip => Engine::Gzip(Decompress::new(false), Crc::new()),
            Format::Zlib => Engine::Deflate(Decompress::new(true)),
            Format::Deflate => Engine::Deflate(Decompress::new(false)),
            Format::Brotli => {
                let alloc = StandardAlloc::default;
                // Without the extension of the format whose window is a gigabyte.
                Engine::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
        };
        let stage = if format == Format::Gzip { Stage::Header(Header::new()) } else { Stage::Data };
        Self { stage, engine, members, is_past_a_member: false }
    }

    /// Decodes from the front of `input` into `output`, until that has `limit` bytes or all of `input` is used. Where the limit was
    /// met there may be more even without more input.
    pub(crate) fn decode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), CodingError> {
        loop {
            match &mut self.stage {
                Stage::Header(header) => {
                    let Some(byte) = next(input) else { return Ok(()) };
                    let is_first = header.is_untouched();
                    match header.take(byte) {
                        Progress::More => {}
                        Progress::Ended => self.stage = Stage::Data,
                        Progress::Invalid if is_first && self.is_past_a_member => self.stage = Stage::End,
                        Progress::Invalid => return Err(CodingError::Invalid),
                    }
                }
                Stage::Data => {
                    if output.len() >= limit {
                        return Ok(());
                    }
                    let before = output.len();
                    output.resize(before + (limit - before).min(STEP_BYTES), 0);
                    let step = self.engine.step(input, &mut output[before..]);
                    output.truncate(before + step.as_ref().map_or(0, |step| step.produced));
                    let step = step?;
                    *input = &input[step.consumed..];
                    if step.is_end {
                        let has_trailer = matches!(self.engine, Engine::Gzip(..));
                        self.stage = if has_trailer { Stage::Trailer([0; 8], 0) } else { Stage::End };
                    } else if step.consumed == 0 && step.produced == 0 {
                        return Ok(());
                    }
                }
                Stage::Trailer(trailer, arrived) => {
                    let Some(byte) = next(input) else { return Ok(()) };
                    trailer[*arrived] = byte;
                    *arrived += 1;
                    if *arrived == trailer.len() {
                        let trailer = u64::from_le_bytes(*trailer);
                        self.end_member(trailer)?;
                    }
                }
                Stage::End => {
                    if input.is_empty() {
                        return Ok(());
                    }
                    if self.members == Members::One {
                        return Err(CodingError::Trailing);
                    }
                    *input = &[];
                }
            }
        }
    }

    /// An error where the data could go on.
    pub(crate) fn check_complete(&self) -> Result<(), CodingError> {
        let is_complete = match &self.stage {
            Stage::End => true,
            Stage::Header(header) => header.is_untouched() && self.is_past_a_member,
            Stage::Data | Stage::Trailer(..) => false,
        };
        if is_complete { Ok(()) } else { Err(CodingError::Incomplete) }
    }

    fn end_member(&mut self, trailer: u64) -> Result<(), CodingError> {
        let Engine::Gzip(data, crc) = &mut self.engine else { return Ok(()) };
        if trailer != u64::from(crc.sum()) | u64::from(crc.amount()) << 32 {
            return Err(CodingError::Invalid);
        }
        crc.reset();
        data.reset(false);
        self.is_past_a_member = self.members == Members::Any;
        self.stage = if self.is_past_a_member { Stage::Header(Header::new()) } else { Stage::End };
        Ok(())
    }
}

struct Step {
    consumed: usize,
    produced: usize,
    is_end: bool,
}

impl Engine {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CodingError> {
        match self {
            Self::Gzip(data, crc) => {
                let step = inflate(data, input, output)?;
                crc.update(&output[..step.produced]);
                Ok(step)
            }
            Self::Deflate(data) => inflate(data, input, output),
            Self::Brotli(state) => {
                let (mut available, mut consumed) = (input.len(), 0);
                let (mut room, mut produced, mut total) = (output.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut available,
                    &mut consumed,
                    input,
                    &mut room,
                    &mut produced,
                    output,
                    &mut total,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(CodingError::Invalid),
                    result => {
                        let is_end = matches!(result, BrotliResult::ResultSuccess);
                        Ok(Step { consumed, produced, is_end })
                    }
                }
            }
        }
    }
}

fn inflate(data: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<Step, CodingError> {
    let (before_in, before_out) = (data.total_in(), data.total_out());
    let status = data.decompress(input, output, FlushDecompress::None).map_err(|_| CodingError::Invalid)?;
    // Both are at most as long as the slices.
    let consumed = (data.total_in() - before_in) as usize;
    let produced = (data.total_out() - before_out) as usize;
    Ok(Step { consumed, produced, is_end: status == Status::StreamEnd })
}

fn next(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}
