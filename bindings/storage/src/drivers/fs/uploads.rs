//! Uploads in parts. Everything here is synchronous.

use std::collections::HashMap;

use aerostack_bindings::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, named_params};

use super::body::Segment;
use super::folder::{FileId, random_bytes};
use super::incoming::Sealed;
use super::rows::{
    custom_metadata_of, file_id, hex, http_metadata_of, json_of_custom_metadata, json_of_http_metadata, storage_class,
    unsigned,
};
use super::store::{FileChanges, Store, WriteError, find, replace};
use crate::checksum::{Algorithm, Checksums, to_hex};
use crate::limits::Problem;
use crate::multipart::{self, StoredPart};
use crate::{CustomMetadata, HttpMetadata, NewPart, NewUpload, Object, StorageClass, UploadedPart};

/// An upload that is not completed is given up after so long, as in R2; the row of one that has ended is forgotten.
const UPLOAD_LIFETIME_MS: u64 = 7 * 24 * 60 * 60 * 1000;

struct OpenUpload {
    state: UploadState,
    storage_class: StorageClass,
    http_metadata: HttpMetadata,
    custom_metadata: CustomMetadata,
}

#[derive(PartialEq, Eq)]
enum UploadState {
    Open,
    Ended,
}

impl Store {
    pub(super) fn create_upload(&self, upload: &NewUpload) -> Result<String> {
        let upload_id = BASE64.encode(random_bytes::<32>()?);
        self.write(|transaction, _| {
            transaction
                .prepare_cached(
                    "INSERT INTO uploads (upload_id, key, created, state, storage_class, http_metadata, custom_metadata)
                     VALUES (:upload_id, :key, :created, 'open', :storage_class, :http, :custom)",
                )?
                .execute(named_params! {
                    ":upload_id": upload_id,
                    ":key": upload.key,
                    ":created": self.clock.now_ms() as i64,
                    ":storage_class": upload.storage_class.as_str(),
                    ":http": json_of_http_metadata(&upload.http_metadata)?,
                    ":custom": json_of_custom_metadata(&upload.custom_metadata),
                })?;
            Ok(())
        })?;
        Ok(upload_id)
    }

    pub(super) fn put_part(&self, part: &NewPart, file: &Sealed) -> std::result::Result<UploadedPart, WriteError> {
        let etag = to_hex(&random_bytes::<16>()?);
        let md5 = file.checksums.get(Algorithm::Md5).map(to_hex).unwrap_or_default();
        self.write(|transaction, changes| {
            let upload = find_upload(transaction, &part.key, &part.upload_id)?;
            if upload.is_none_or(|upload| upload.state != UploadState::Open) {
                return Err(Error::from(Problem::NoSuchUpload).into());
            }
            let replaced = transaction
                .prepare_cached("SELECT file FROM upload_parts WHERE upload_id = :upload_id AND number = :number")?
                .query_row(named_params! { ":upload_id": part.upload_id, ":number": part.number }, |row| {
                    file_id(row, 0)
                })
                .optional()?;
            changes.retire(replaced.into_iter().collect());
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO upload_parts (upload_id, number, etag, file, size, md5)
                     VALUES (:upload_id, :number, :etag, :file, :size, :md5)",
                )?
                .execute(named_params! {
                    ":upload_id": part.upload_id,
                    ":number": part.number,
                    ":etag": etag,
                    ":file": file.id.as_str(),
                    ":size": file.size as i64,
                    ":md5": md5,
                })?;
            changes.name(&file.id);
            Ok(UploadedPart { number: part.number, etag })
        })
    }

    pub(super) fn complete_upload(
        &self,
        key: &str,
        upload_id: &str,
        selected: &[UploadedPart],
        min_part_bytes: u64,
    ) -> Result<Object> {
        let version = FileId::random()?.as_str().to_owned();
        let object = self.write(|transaction, changes| {
            let upload = match find_upload(transaction, key, upload_id)? {
                Some(upload) if upload.state == UploadState::Open => upload,
                Some(_) => return Err(Error::from(Problem::NoSuchUpload).into()),
                None => return Err(Error::from(Problem::Internal).into()),
            };
            let (mut files, mut uploaded) = (HashMap::new(), Vec::new());
            for (file, stored) in parts_of(transaction, upload_id)? {
                files.insert(stored.part.number, file);
                uploaded.push(stored);
            }
            let parts = multipart::select(selected, uploaded, min_part_bytes)?;
            let segment =
                |stored: &StoredPart| files.remove(&stored.part.number).map(|file| Segment { file, size: stored.size });
            let segments: Vec<Segment> = parts.iter().filter_map(segment).collect();
            let object = Object {
                key: key.to_owned(),
                version,
                size: parts.iter().map(|part| part.size).sum(),
                etag: multipart::etag_of(&parts),
                uploaded_ms: self.clock.now_ms(),
                checksums: Checksums::default(),
                http_metadata: Some(upload.http_metadata),
                custom_metadata: Some(upload.custom_metadata),
                storage_class: upload.storage_class,
            };
            let existing = find(transaction, key)?;
            forget_parts(transaction, upload_id)?;
            changes.retire(files.into_values().collect());
            replace(transaction, existing.as_ref(), &object, Some(&segments), changes)?;
            end_upload(transaction, upload_id, "completed")?;
            Ok(object)
        })?;
        Ok(object)
    }

    pub(super) fn abort_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        self.write(|transaction, changes| {
            let Some(upload) = find_upload(transaction, key, upload_id)? else {
                return Err(Error::from(Problem::Internal).into());
            };
            if upload.state == UploadState::Open {
                give_up(transaction, upload_id, changes)?;
                end_upload(transaction, upload_id, "aborted")?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Gives up uploads that were begun too long ago, and forgets those that have ended.
    pub(super) fn expire_uploads(&self) -> Result<()> {
        let before = self.clock.now_ms().saturating_sub(UPLOAD_LIFETIME_MS) as i64;
        self.write(|transaction, changes| {
            let expired: Vec<String> = transaction
                .prepare("SELECT upload_id FROM uploads WHERE created < :before")?
                .query_map(named_params! { ":before": before }, |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for upload_id in expired {
                give_up(transaction, &upload_id, changes)?;
                transaction
                    .prepare_cached("DELETE FROM uploads WHERE upload_id = :upload_id")?
                    .execute(named_params! { ":upload_id": upload_id })?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn find_upload(connection: &Connection, key: &str, upload_id: &str) -> rusqlite::Result<Option<OpenUpload>> {
    connection
        .prepare_cached(
            "SELECT state, storage_class, http_metadata, custom_metadata FROM uploads
             WHERE upload_id = :upload_id AND key = :key",
        )?
        .query_row(named_params! { ":upload_id": upload_id, ":key": key }, |row| {
            let state = row.get_ref(0)?.as_str()?;
            Ok(OpenUpload {
                state: if state == "open" { UploadState::Open } else { UploadState::Ended },
                storage_class: storage_class(row, 1)?,
                http_metadata: http_metadata_of(row.get_ref(2)?.as_str()?, 2)?,
                custom_metadata: custom_metadata_of(row.get_ref(3)?.as_str()?, 3)?,
            })
        })
        .optional()
}

/// The parts of an upload and their files.
fn parts_of(connection: &Connection, upload_id: &str) -> rusqlite::Result<Vec<(FileId, StoredPart)>> {
    let part = |row: &Row<'_>| {
        let stored = StoredPart {
            part: UploadedPart { number: row.get(1)?, etag: row.get(2)? },
            size: unsigned(row, 3)?,
            md5: hex(row, 4)?,
        };
        Ok((file_id(row, 0)?, stored))
    };
    connection
        .prepare_cached(
            "SELECT file, number, etag, size, md5 FROM upload_parts WHERE upload_id = :upload_id ORDER BY number",
        )?
        .query_map(named_params! { ":upload_id": upload_id }, part)?
        .collect()
}

/// Removes the parts of an upload with their files.
fn give_up(transaction: &Transaction<'_>, upload_id: &str, changes: &mut FileChanges) -> rusqlite::Result<()> {
    changes.retire(parts_of(transaction, upload_id)?.into_iter().map(|(file, _)| file).collect());
    forget_parts(transaction, upload_id)
}

fn forget_parts(transaction: &Transaction<'_>, upload_id: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM upload_parts WHERE upload_id = :upload_id")?
        .execute(named_params! { ":upload_id": upload_id })
        .map(drop)
}

fn end_upload(transaction: &Transaction<'_>, upload_id: &str, state: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE uploads SET state = :state WHERE upload_id = :upload_id")?
        .execute(named_params! { ":upload_id": upload_id, ":state": state })
        .map(drop)
}
