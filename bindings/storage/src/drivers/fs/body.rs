//! The bytes of an object on their way out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use aerostack_bindings::{Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;

use super::folder::{self, FileId};
use super::offloaded::Offloaded;
use super::store::Store;
use crate::Body;
use crate::range::ByteRange;

/// So many bytes are read at once, and as many are read ahead.
const CHUNK_BYTES: u64 = 256 * 1024;

/// One file of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) file: FileId,
    pub(super) size: u64,
}

/// Bytes that were small enough to be read at once.
pub(super) struct MemoryBody(pub(super) Bytes);

/// Bytes that are read from files, piece by piece on another thread.
pub(super) struct FileBody {
    reading: Offloaded<Reading, Result<Bytes>>,
    remaining: u64,
}

/// The files that are still to be read, and the one that is being read.
pub(super) struct Reading {
    store: Arc<Store>,
    open: Option<OpenFile>,
    next: VecDeque<(FileId, ByteRange)>,
    /// Keeps the files of an object in parts from being removed.
    _hold: Option<File>,
}

struct OpenFile {
    id: FileId,
    file: File,
    remaining: u64,
}

impl Reading {
    /// The bytes of one file that is open.
    pub(super) fn of_file(store: &Arc<Store>, id: FileId, file: File, range: ByteRange) -> Result<Self> {
        let mut reading = Self { store: Arc::clone(store), open: None, next: VecDeque::new(), _hold: None };
        reading.start(id, file, range)?;
        Ok(reading)
    }

    /// The bytes of several files, which `hold` keeps from being removed.
    pub(super) fn of_segments(store: &Arc<Store>, hold: File, segments: &[Segment], range: ByteRange) -> Self {
        let next = cut(segments, range);
        Self { store: Arc::clone(store), open: None, next, _hold: Some(hold) }
    }

    /// Up to `limit` of the bytes that are still to come; none at the end.
    pub(super) fn read(&mut self, limit: u64) -> Result<Bytes> {
        let open = loop {
            if let Some(open) = self.open.as_mut().filter(|open| open.remaining > 0) {
                break open;
            }
            let Some((id, range)) = self.next.pop_front() else { return Ok(Bytes::new()) };
            let Some(file) = self.store.folder().open_file(&id)? else { return Err(self.store.missing_file(&id)) };
            self.start(id, file, range)?;
        };
        let wanted = open.remaining.min(limit);
        let mut bytes = Vec::with_capacity(wanted as usize);
        let outcome = (&open.file).take(wanted).read_to_end(&mut bytes);
        let path = || self.store.folder().file_path(&open.id);
        outcome.map_err(|error| folder::failed("read", &path(), error))?;
        open.remaining -= bytes.len() as u64;
        if bytes.len() as u64 != wanted {
            let text = "a file of the bucket is shorter than when it was stored";
            return Err(Error::new(ErrorKind::Unexpected, text).with_context("path", path().display().to_string()));
        }
        Ok(bytes.into())
    }

    fn start(&mut self, id: FileId, mut file: File, range: ByteRange) -> Result<()> {
        if range.offset > 0 {
            file.seek(SeekFrom::Start(range.offset))
                .map_err(|error| folder::failed("read", &self.store.folder().file_path(&id), error))?;
        }
        self.open = Some(OpenFile { id, file, remaining: range.length });
        Ok(())
    }
}

/// What of each file lies in the range.
fn cut(segments: &[Segment], range: ByteRange) -> VecDeque<(FileId, ByteRange)> {
    let end = range.offset + range.length;
    let mut pieces = VecDeque::new();
    let mut position = 0;
    for Segment { file, size } in segments {
        let first = range.offset.max(position);
        let last = end.min(position + size);
        if first < last {
            pieces.push_back((file.clone(), ByteRange { offset: first - position, length: last - first }));
        }
        position += size;
    }
    pieces
}

impl FileBody {
    pub(super) fn new(reading: Reading, length: u64) -> Self {
        Self { reading: Offloaded::new(reading), remaining: length }
    }
}

#[async_trait]
impl Body for FileBody {
    fn remaining(&self) -> u64 {
        self.remaining
    }

    async fn read(&mut self) -> Result<Bytes> {
        if self.remaining == 0 {
            return Ok(Bytes::new());
        }
        let bytes = loop {
            match self.reading.outcome().await? {
                Some(Ok(bytes)) => break bytes,
                Some(Err(error)) => {
                    // What would come next does not follow what came last.
                    drop(self.reading.take());
                    return Err(error);
                }
                None => self.reading.begin(|reading| reading.read(CHUNK_BYTES))?,
            }
        };
        self.remaining -= bytes.len() as u64;
        if self.remaining > 0 {
            self.reading.begin(|reading| reading.read(CHUNK_BYTES))?;
        }
        Ok(bytes)
    }
}

#[async_trait]
impl Body for MemoryBody {
    fn remaining(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read(&mut self) -> Result<Bytes> {
        Ok(std::mem::take(&mut self.0))
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_borders_of_the_files() {
        let ids: Vec<FileId> =
            ["a", "b", "c", "d"].iter().map(|digit| FileId::parse(&digit.repeat(32)).expect("an id")).collect();
        let segments: Vec<Segment> =
            ids.iter().zip([10, 0, 10, 5]).map(|(id, size)| Segment { file: id.clone(), size }).collect();
        let pieces = |offset, length| -> Vec<(usize, u64, u64)> {
            cut(&segments, ByteRange { offset, length })
                .into_iter()
                .map(|(file, range)| {
                    (ids.iter().position(|id| *id == file).expect("known"), range.offset, range.length)
                })
                .collect()
        };
        assert_eq!(pieces(0, 25), [(0, 0, 10), (2, 0, 10), (3, 0, 5)]);
        assert_eq!(pieces(9, 2), [(0, 9, 1), (2, 0, 1)]);
        assert_eq!(pieces(10, 10), [(2, 0, 10)]);
        assert_eq!(pieces(19, 6), [(2, 9, 1), (3, 0, 5)]);
        assert_eq!(pieces(25, 0), []);
    }
}
