//! The rows of a bucket together with its files. Everything here is synchronous.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use aerostack_bindings::{Clock, Error, ErrorKind, Result};
use aerostack_sqlite::OpenedFile;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, named_params};

use super::body::{FileBody, MemoryBody, Reading, Segment};
use super::folder::{Company, FileId, Folder};
use super::incoming::Sealed;
use super::metadata_file;
use super::rows::{
    StoredObject, columns, file_id, json_of_checksums, json_of_custom_metadata, json_of_http_metadata, stored_object,
    unsigned,
};
use crate::checksum::{Algorithm, to_hex};
use crate::conditional::Current;
use crate::listing::{after, beyond, group_of};
use crate::{Body, Found, GetRequest, Include, ListRequest, Listing, NewObject, Object};

/// How long a call waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// So many bytes of one file are read on the caller's thread.
pub(super) const INLINE_BODY_BYTES: u64 = 64 * 1024;
/// How often a reader looks again for an object whose file was gone: each time somebody has replaced it meanwhile.
const READ_ATTEMPTS: usize = 100;

/// Whether a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It is on an isolate's thread and must not.
    None,
    /// It is on a thread of its own and may.
    UntilTimeout,
}

/// Why a call did not succeed.
pub(super) enum Refusal {
    /// It has to wait and was not allowed to.
    NotHere,
    /// It failed.
    Failed(Error),
}

pub(super) type Attempt<T> = std::result::Result<T, Refusal>;

/// Why a transaction did not succeed.
pub(super) enum WriteError {
    /// It failed and changed nothing.
    Undone(Error),
    /// It failed at its end: whether it changed anything is known when the file is opened again.
    Unsure(Error),
}

/// What a transaction means for files once it is committed.
#[derive(Default)]
pub(super) struct FileChanges {
    /// No row will name them, a list for each object or upload.
    retired: Vec<Vec<FileId>>,
    /// A row will name it.
    named: Option<FileId>,
}

/// A bucket.
pub(super) struct Store {
    folder: Folder,
    metadata: OpenedFile,
    pub(super) clock: Arc<dyn Clock>,
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    /// Files that somebody was reading when they were to be removed.
    still_read: Mutex<Vec<Vec<FileId>>>,
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Undone(error) | WriteError::Unsure(error) => error,
        }
    }
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Undone(error)
    }
}

impl FileChanges {
    /// No row will name these files of one object or upload any more.
    pub(super) fn retire(&mut self, files: Vec<FileId>) {
        if !files.is_empty() {
            self.retired.push(files);
        }
    }

    /// A row will name this file.
    pub(super) fn name(&mut self, file: &FileId) {
        self.named = Some(file.clone());
    }
}

impl Store {
    /// Opens the bucket in the folder at `root`, making it where it is missing.
    pub(super) fn open(root: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let (folder, company) = Folder::open(root)?;
        let writer = metadata_file::open(&folder.metadata_path())?;
        let reader = metadata_file::open(&folder.metadata_path())?;
        let store = Self {
            metadata: OpenedFile::at(&folder.metadata_path())?,
            folder,
            clock,
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            still_read: Mutex::new(Vec::new()),
        };
        if company == Company::Alone {
            store.sweep()?;
            store.expire_uploads()?;
            store.folder.admit_others()?;
        }
        Ok(store)
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn head(&self, key: &str, patience: Patience) -> Attempt<Option<Object>> {
        let reader = self.lock(&self.reader, patience)?;
        let row = find(&reader, key).map_err(|error| self.refusal("read", error, patience))?;
        Ok(row.map(|stored| stored.object))
    }

    pub(super) fn get(self: &Arc<Self>, key: &str, request: &GetRequest, patience: Patience) -> Attempt<Option<Found>> {
        let mut missing = None;
        for _ in 0..READ_ATTEMPTS {
            let Some((object, segments)) = self.find_with_files(key, patience)? else { return Ok(None) };
            let current = Current { etag: &object.etag, uploaded_ms: object.uploaded_ms };
            if request.only_if.as_ref().is_some_and(|only_if| !only_if.holds(Some(current))) {
                let range = crate::range::ByteRange { offset: 0, length: object.size };
                return Ok(Some(Found { object, range, body: None }));
            }
            let range = request.range.resolve(object.size).map_err(Refusal::Failed)?;
            if let Some(body) = self.open_body(&segments, range).map_err(Refusal::Failed)? {
                return Ok(Some(Found { object, range, body: Some(body) }));
            }
            // Somebody has replaced the object since its row was read, or its file is lost.
            if missing.as_ref() == Some(&object.version) {
                break;
            }
            missing = Some(object.version);
        }
        Err(Refusal::Failed(
            Error::new(ErrorKind::Unexpected, "the file of an object is missing from the bucket's folder")
                .with_context("key", key)
                .with_context("version", missing.unwrap_or_default()),
        ))
    }

    /// A page. Keys that share a prefix up to the delimiter are skipped over, not read.
    pub(super) fn list(&self, request: &ListRequest, patience: Patience) -> Attempt<Listing> {
        let reader = self.lock(&self.reader, patience)?;
        list_page(&reader, request).map_err(|error| self.refusal("list", error, patience))
    }

    /// Stores an object; `None` where its condition does not hold.
    pub(super) fn put(&self, new: &NewObject, file: &Sealed) -> std::result::Result<Option<Object>, WriteError> {
        let etag = file.checksums.get(Algorithm::Md5).map(to_hex).unwrap_or_default();
        let object = Object {
            key: new.key.clone(),
            version: file.id.as_str().to_owned(),
            size: file.size,
            etag,
            uploaded_ms: self.clock.now_ms(),
            checksums: file.checksums.clone(),
            http_metadata: Some(new.http_metadata.clone()),
            custom_metadata: Some(new.custom_metadata.clone()),
            storage_class: new.storage_class,
        };
        self.write(|transaction, changes| {
            let existing = find(transaction, &new.key)?;
            if let Some(only_if) = &new.only_if {
                let current = existing
                    .as_ref()
                    .map(|stored| Current { etag: &stored.object.etag, uploaded_ms: stored.object.uploaded_ms });
                if !only_if.holds(current) {
                    return Ok(None);
                }
            }
            replace(transaction, existing.as_ref(), &object, None, changes)?;
            changes.name(&file.id);
            Ok(Some(object))
        })
    }

    pub(super) fn delete(&self, keys: &[String]) -> Result<()> {
        self.write(|transaction, changes| {
            for key in keys {
                if let Some(stored) = find(transaction, key)? {
                    retire(transaction, &stored, changes)?;
                    transaction.prepare_cached("DELETE FROM objects WHERE key = :key")?.execute(named_params! {
                        ":key": key
                    })?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The error of a file that a row names and that is not there.
    pub(super) fn missing_file(&self, id: &FileId) -> Error {
        Error::new(ErrorKind::Unexpected, "the file of an object is missing from the bucket's folder")
            .with_context("path", self.folder.file_path(id).display().to_string())
    }

    /// Whether the bucket is still where it was opened.
    pub(super) fn check_in_place(&self) -> Result<()> {
        self.metadata.check()
    }

    /// Runs a transaction, and then does with files what it means for them.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut FileChanges) -> Result<T, TransactionError>,
    ) -> std::result::Result<T, WriteError> {
        let mut changes = FileChanges::default();
        self.check_in_place()?;
        let value = {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = writer
                .busy_timeout(BUSY_TIMEOUT)
                .and_then(|()| writer.transaction_with_behavior(TransactionBehavior::Immediate))
                .map_err(|error| self.write_failed(error))?;
            let value = work(&transaction, &mut changes).map_err(|error| match error {
                TransactionError::Refused(error) => error,
                TransactionError::Sqlite(error) => self.write_failed(error),
            })?;
            for files in &changes.retired {
                self.folder.mark_unsettled(files)?;
            }
            transaction.commit().map_err(|error| WriteError::Unsure(self.write_failed(error)))?;
            // While nobody else can retire the file and mark it again.
            if let Some(named) = &changes.named {
                self.settle(named);
            }
            value
        };
        self.remove(changes.retired);
        Ok(value)
    }

    /// Takes the mark of a file away that a row names now. Nothing depends on it, so its failure is only logged.
    fn settle(&self, id: &FileId) {
        if let Err(error) = self.folder.settle(id) {
            tracing::warn!(%error, file = id.as_str(), "the mark of a stored file could not be removed");
        }
    }

    /// Removes files that no row names any more, as far as nobody is reading them, and those that were being read before.
    fn remove(&self, files: Vec<Vec<FileId>>) {
        let mut waiting = std::mem::take(&mut *self.still_read.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.extend(files);
        let mut still_read = Vec::new();
        for files in waiting {
            match self.folder.remove_files(&files) {
                Ok(true) => {}
                Ok(false) => still_read.push(files),
                // Their mark is still there, so they are removed when the bucket is opened next.
                Err(error) => tracing::warn!(%error, "a file of a deleted object could not be removed"),
            }
        }
        self.still_read.lock().unwrap_or_else(PoisonError::into_inner).extend(still_read);
    }

    /// Removes what a process has left that ended while it wrote or removed files.
    fn sweep(&self) -> Result<()> {
        let marks = self.folder.unsettled()?;
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        for files in marks {
            let mut unnamed = Vec::new();
            for id in &files {
                let is_named = is_named(&reader, id).map_err(|error| self.failed("read", error))?;
                if !is_named {
                    unnamed.push(id.clone());
                }
            }
            if let [first, ..] = &unnamed[..] {
                tracing::info!(count = unnamed.len(), first = first.as_str(), "removing files that were never stored");
                if !self.folder.remove_files(&unnamed)? {
                    continue;
                }
            }
            self.folder.settle(&files[0])?;
        }
        Ok(())
    }

    fn find_with_files(&self, key: &str, patience: Patience) -> Attempt<Option<(Object, Vec<Segment>)>> {
        let mut reader = self.lock(&self.reader, patience)?;
        // One transaction, or the files could be those of another version.
        let found = reader.transaction().and_then(|transaction| {
            let Some(stored) = find(&transaction, key)? else { return Ok(None) };
            let segments = files_of(&transaction, &stored)?;
            Ok(Some((stored.object, segments)))
        });
        found.map_err(|error| self.refusal("read", error, patience))
    }

    /// `None` where the files are not there any more.
    fn open_body(
        self: &Arc<Self>,
        segments: &[Segment],
        range: crate::range::ByteRange,
    ) -> Result<Option<Box<dyn Body>>> {
        match segments {
            [] => Ok(Some(Box::new(MemoryBody(Bytes::new())))),
            [Segment { file: id, .. }] => {
                let Some(file) = self.folder.open_file(id)? else { return Ok(None) };
                let mut reading = Reading::of_file(self, id.clone(), file, range)?;
                if range.length <= INLINE_BODY_BYTES {
                    return Ok(Some(Box::new(MemoryBody(reading.read(range.length)?))));
                }
                Ok(Some(Box::new(FileBody::new(reading, range.length))))
            }
            [first, ..] => {
                let Some(hold) = self.folder.hold(&first.file)? else { return Ok(None) };
                let reading = Reading::of_segments(self, hold, segments, range);
                Ok(Some(Box::new(FileBody::new(reading, range.length))))
            }
        }
    }

    fn lock<'a>(&self, connection: &'a Mutex<Connection>, patience: Patience) -> Attempt<MutexGuard<'a, Connection>> {
        // A panic while a connection was held leaves it as usable as an error would.
        let (connection, timeout) = match patience {
            Patience::UntilTimeout => (connection.lock().unwrap_or_else(PoisonError::into_inner), BUSY_TIMEOUT),
            Patience::None => match connection.try_lock() {
                Ok(connection) => (connection, Duration::ZERO),
                Err(TryLockError::Poisoned(poisoned)) => (poisoned.into_inner(), Duration::ZERO),
                Err(TryLockError::WouldBlock) => return Err(Refusal::NotHere),
            },
        };
        connection.busy_timeout(timeout).map_err(|error| self.refusal("open", error, patience))?;
        Ok(connection)
    }

    fn refusal(&self, action: &'static str, error: rusqlite::Error, patience: Patience) -> Refusal {
        match patience {
            Patience::None if is_busy(&error) => Refusal::NotHere,
            _ => Refusal::Failed(self.failed(action, error)),
        }
    }

    fn write_failed(&self, error: rusqlite::Error) -> Error {
        self.failed("write", error)
    }

    fn failed(&self, action: &'static str, error: rusqlite::Error) -> Error {
        let path = self.folder.metadata_path();
        if is_busy(&error) {
            return metadata_file::FILE.still_locked(&path, BUSY_TIMEOUT, error);
        }
        metadata_file::FILE.failed(action, &path, error)
    }
}

/// Why a transaction is not to be committed.
pub(super) enum TransactionError {
    /// A rule says no.
    Refused(Error),
    /// SQLite failed.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for TransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The object under a key.
pub(super) fn find(connection: &Connection, key: &str) -> rusqlite::Result<Option<StoredObject>> {
    let sql = format!("SELECT {} FROM objects WHERE key = :key", columns(Include::ALL));
    connection.prepare_cached(&sql)?.query_row(named_params! { ":key": key }, stored_object).optional()
}

/// Puts an object in the place of the one that is there. `files` are those of an object in parts.
pub(super) fn replace(
    transaction: &Transaction<'_>,
    existing: Option<&StoredObject>,
    object: &Object,
    files: Option<&[Segment]>,
    changes: &mut FileChanges,
) -> rusqlite::Result<()> {
    if let Some(existing) = existing {
        retire(transaction, existing, changes)?;
    }
    let http_metadata = object.http_metadata.as_ref().map(json_of_http_metadata).transpose()?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO objects
                (key, version, size, etag, uploaded, checksums, storage_class, part_count, http_metadata, custom_metadata)
             VALUES (:key, :version, :size, :etag, :uploaded, :checksums, :storage_class, :part_count, :http, :custom)",
        )?
        .execute(named_params! {
            ":key": object.key,
            ":version": object.version,
            ":size": object.size as i64,
            ":etag": object.etag,
            ":uploaded": object.uploaded_ms as i64,
            ":checksums": json_of_checksums(&object.checksums),
            ":storage_class": object.storage_class.as_str(),
            ":part_count": files.map(|files| files.len() as i64),
            ":http": http_metadata,
            ":custom": object.custom_metadata.as_ref().map(json_of_custom_metadata),
        })?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO object_files (version, position, file, size) VALUES (:version, :position, :file, :size)",
    )?;
    for (position, segment) in files.unwrap_or_default().iter().enumerate() {
        insert.execute(named_params! {
            ":version": object.version,
            ":position": position as i64,
            ":file": segment.file.as_str(),
            ":size": segment.size as i64,
        })?;
    }
    Ok(())
}

/// Notes that the files of an object are to go with its row.
fn retire(transaction: &Transaction<'_>, stored: &StoredObject, changes: &mut FileChanges) -> rusqlite::Result<()> {
    changes.retire(files_of(transaction, stored)?.into_iter().map(|segment| segment.file).collect());
    if stored.part_count.is_some() {
        transaction
            .prepare_cached("DELETE FROM object_files WHERE version = :version")?
            .execute(named_params! { ":version": stored.object.version })?;
    }
    Ok(())
}

/// The files with the bytes of an object, in their order.
fn files_of(connection: &Connection, stored: &StoredObject) -> rusqlite::Result<Vec<Segment>> {
    if stored.part_count.is_none() {
        let sql = "SELECT version, size FROM objects WHERE version = :version";
        let mut statement = connection.prepare_cached(sql)?;
        let segment = statement.query_row(named_params! { ":version": stored.object.version }, |row| {
            Ok(Segment { file: file_id(row, 0)?, size: unsigned(row, 1)? })
        })?;
        return Ok(vec![segment]);
    }
    connection
        .prepare_cached("SELECT file, size FROM object_files WHERE version = :version ORDER BY position")?
        .query_map(named_params! { ":version": stored.object.version }, |row| {
            Ok(Segment { file: file_id(row, 0)?, size: unsigned(row, 1)? })
        })?
        .collect()
}

fn is_named(connection: &Connection, id: &FileId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM objects WHERE version = :id AND part_count IS NULL)
                OR EXISTS (SELECT 1 FROM object_files WHERE file = :id)
                OR EXISTS (SELECT 1 FROM upload_parts WHERE file = :id)",
        )?
        .query_row(named_params! { ":id": id.as_str() }, |row| row.get(0))
}

fn list_page(connection: &Connection, request: &ListRequest) -> rusqlite::Result<Listing> {
    let mut page = Listing::default();
    let below = beyond(&request.prefix);
    let sql = format!(
        "SELECT {} FROM objects WHERE key >= :from {} ORDER BY key LIMIT :limit",
        columns(request.include),
        if below.is_some() { "AND key < :below" } else { "AND :below IS NULL" }
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut position = Some(request.from.clone().max(request.prefix.clone()));
    // Each turn reads on until it meets a group of keys, and goes on behind that group.
    while let Some(from) = position.take() {
        let room = request.limit - page.objects.len() - page.delimited_prefixes.len();
        // One more than there is room for, to see whether there is more.
        let mut rows = statement.query(named_params! { ":from": from, ":below": below, ":limit": room as i64 + 1 })?;
        let mut room = room;
        let told_before = page.objects.len();
        while let Some(row) = rows.next()? {
            if room == 0 {
                // Right behind what was told last: what is stored there meanwhile comes next.
                page.next = Some(page.objects[told_before..].last().map_or(from, |object| after(&object.key)));
                return Ok(page);
            }
            room -= 1;
            let key = row.get_ref(0)?.as_str()?;
            let delimiter = request.delimiter.as_deref();
            match delimiter.and_then(|delimiter| group_of(key, &request.prefix, delimiter)) {
                None => page.objects.push(stored_object(row)?.object),
                Some(group) => {
                    position = beyond(group);
                    page.delimited_prefixes.push(group.to_owned());
                    break;
                }
            }
        }
    }
    Ok(page)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}
