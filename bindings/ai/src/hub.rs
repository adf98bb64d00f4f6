//! Getting the files of the catalogue from a hub: the public one, a mirror, or whatever `HF_ENDPOINT` names.
//!
//! Every file is checked against the checksum the hub gives for it before it gets its name; what is already there is checked and
//! kept; what was cut off goes on where it ended.

mod checksum;
mod request;

use std::path::{Path, PathBuf};

use aerostack_bindings::{Error, ErrorKind, Result};
use http_body_util::BodyExt;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use self::checksum::{Checksum, Digest};
use self::request::{Client, Method};
use crate::catalogue::CatalogueModel;

/// The hub where nobody names another.
pub const DEFAULT_HUB: &str = "https://huggingface.co";

/// So often a download that was cut off goes on by itself.
const ATTEMPTS: u32 = 4;

/// A place that models come from.
pub struct Hub {
    base: Url,
    client: Client,
}

/// How far the getting of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullProgress<'a> {
    /// The file of the repository.
    pub file: &'a str,
    /// Bytes of it that are there.
    pub received: u64,
    /// Its bytes in all.
    pub total: u64,
}

/// What a hub says of a file.
struct FileInfo {
    size: u64,
    checksum: Checksum,
}

impl Hub {
    /// A hub at a base address. `token` is for what only its owner may get; it is sent to that address only.
    pub fn new(base: &str, token: Option<String>) -> Result<Self> {
        let invalid =
            |why: String| Error::new(ErrorKind::ConfigInvalid, format!("the hub's address {base} is none: {why}"));
        let base =
            Url::parse(&format!("{}/", base.trim_end_matches('/'))).map_err(|error| invalid(error.to_string()))?;
        if !matches!(base.scheme(), "https" | "http") || base.host().is_none() {
            return Err(invalid("it begins with neither https:// nor http://".to_owned()));
        }
        let client = Client::new(&base, token)?;
        Ok(Self { base, client })
    }

    /// The hub that `HF_ENDPOINT` names, or the public one, with the token of `HF_TOKEN`.
    pub fn from_environment() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::new(set("HF_ENDPOINT").as_deref().unwrap_or(DEFAULT_HUB), set("HF_TOKEN"))
    }

    /// Gets the files of a model into its folder inside `models_folder` and returns that folder. `progress` is told of every piece.
    pub async fn pull(
        &self,
        model: &CatalogueModel,
        models_folder: &Path,
        progress: &(dyn Fn(PullProgress<'_>) + Send + Sync),
    ) -> Result<PathBuf> {
        let folder = models_folder.join(model.folder());
        // The small files say at once whether the model can be got at all.
        for file in model.files.iter().rev() {
            self.pull_file(model.repository, file, &folder, progress).await.map_err(|error| {
                Error::new(error.kind(), format!("cannot get {}: {error}", model.name)).with_source(error)
            })?;
        }
        Ok(folder)
    }

    async fn pull_file(
        &self,
        repository: &str,
        file: &str,
        folder: &Path,
        progress: &(dyn Fn(PullProgress<'_>) + Send + Sync),
    ) -> Result<()> {
        let address = self.base.join(&format!("{repository}/resolve/main/{file}")).map_err(|error| {
            Error::new(ErrorKind::Unexpected, format!("{repository}/{file} is no address")).with_source(error)
        })?;
        let info = self.info(&address).await?;
        let told = |received| progress(PullProgress { file, received, total: info.size });
        let target = folder.join(file);
        if size_of(&target).await == Some(info.size) && digest_of(&target, &info).await?.matches(&info.checksum) {
            told(info.size);
            return Ok(());
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).await.map_err(|error| failed("create", parent, error))?;
        }
        // Of another version of the file nothing is kept: its part has another name.
        let part = target.with_added_extension(format!("{}.part", info.checksum.short()));
        let mut attempt = 1;
        while let Err(error) = self.receive(&address, &part, &info, &told).await {
            if attempt == ATTEMPTS || !error.is_retryable() {
                return Err(error);
            }
            tracing::debug!(%address, %error, attempt, "the download was cut off and goes on");
            attempt += 1;
        }
        if !digest_of(&part, &info).await?.matches(&info.checksum) {
            fs::remove_file(&part).await.map_err(|error| failed("remove", &part, error))?;
            let text = format!("{file} arrived damaged: its checksum is not the one the hub gives");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        fs::rename(&part, &target).await.map_err(|error| failed("rename", &part, error))
    }

    /// Asks for the size and the checksum, which stand in the first answer and not in the one it points to.
    async fn info(&self, address: &Url) -> Result<FileInfo> {
        let answer = self.client.send(Method::Head, address, None).await?;
        let header = |names: [&str; 2]| names.iter().find_map(|name| answer.first.get(*name)?.to_str().ok());
        let checksum = header(["x-linked-etag", "etag"]).and_then(Checksum::parse);
        let size = header(["x-linked-size", "content-length"]).and_then(|size| size.parse().ok());
        match (checksum, size) {
            (Some(checksum), Some(size)) => Ok(FileInfo { size, checksum }),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{address} comes without a size and a checksum to check it with"),
            )),
        }
    }

    /// Receives what is missing of a part.
    async fn receive(
        &self,
        address: &Url,
        part: &Path,
        info: &FileInfo,
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<()> {
        let mut received = size_of(part).await.unwrap_or(0);
        if received > info.size {
            fs::remove_file(part).await.map_err(|error| failed("remove", part, error))?;
            received = 0;
        }
        told(received);
        if received == info.size && received > 0 {
            return Ok(());
        }
        let answer = self.client.send(Method::Get, address, (received > 0).then_some(received)).await?;
        // A server that knows no ranges begins anew.
        let goes_on = answer.status == http::StatusCode::PARTIAL_CONTENT;
        let mut file = OpenOptions::new()
            .create(true)
            .append(goes_on)
            .write(true)
            .truncate(!goes_on)
            .open(part)
            .await
            .map_err(|error| failed("open", part, error))?;
        received = if goes_on { received } else { 0 };
        let mut body = answer.body;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Error::new(ErrorKind::Unavailable, format!("the download of {address} was cut off")).with_source(error)
            })?;
            let Some(data) = frame.data_ref() else { continue };
            file.write_all(data).await.map_err(|error| failed("write", part, error))?;
            received += data.len() as u64;
            told(received);
        }
        file.sync_all().await.map_err(|error| failed("write", part, error))?;
        if received == info.size {
            return Ok(());
        }
        let text = format!("the download of {address} ended after {received} of {} bytes", info.size);
        Err(Error::new(ErrorKind::Unavailable, text))
    }
}

async fn size_of(path: &Path) -> Option<u64> {
    fs::metadata(path).await.ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

async fn digest_of(path: &Path, info: &FileInfo) -> Result<Digest> {
    let mut file = File::open(path).await.map_err(|error| failed("read", path, error))?;
    let mut digest = info.checksum.digest(info.size);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer).await.map_err(|error| failed("read", path, error))? {
            0 => return Ok(digest),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, format!("cannot {what} {}: {error}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests;
