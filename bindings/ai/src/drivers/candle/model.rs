//! A model in memory.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Content;
use candle_core::{Error, Result, bail};
use memmap2::Mmap;

use super::chat_template::ChatTemplate;
use super::decoder::Decoder;
use super::embedder::Embedder;
use super::gguf::Metadata;
use super::tokenizer::Tokenizer;
use crate::Task;
use crate::catalogue::CatalogueModel;

/// A loaded model.
pub(super) enum Model {
    /// For [`Task::TextGeneration`].
    Text(Box<TextModel>),
    /// For [`Task::TextEmbeddings`].
    Embeddings(Box<Embedder>),
}

/// What generating text takes.
pub(super) struct TextModel {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
    /// `None` where the file has none: then it continues texts only.
    pub(super) template: Option<ChatTemplate>,
}

/// Where a model's files are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Files {
    /// A GGUF file, and the chat template to use where it has none.
    Gguf(PathBuf, Option<&'static str>),
    /// A folder in the layout of sentence-transformers.
    Folder(PathBuf),
}

impl Files {
    /// Finds the files of a model at a path: a GGUF file, a folder with exactly one, or a folder with a `config.json`. `row` is
    /// what the catalogue says of it. `None` where there is no model.
    pub(super) fn find(path: &Path, row: Option<&'static CatalogueModel>) -> Option<Self> {
        let template = row.and_then(|row| row.template);
        if path.is_file() {
            return is_gguf(path).then(|| Self::Gguf(path.to_owned(), template));
        }
        let named = row.and_then(|row| row.files.iter().map(|name| path.join(name)).find(|file| is_gguf(file)));
        if let Some(file) = named.filter(|file| file.is_file()) {
            return Some(Self::Gguf(file, template));
        }
        let has_weights = || ["model.safetensors", "pytorch_model.bin"].iter().any(|name| path.join(name).is_file());
        if path.join("config.json").is_file() && has_weights() {
            return Some(Self::Folder(path.to_owned()));
        }
        let mut files =
            fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| is_gguf(file));
        match (files.next(), files.next()) {
            (Some(file), None) => Some(Self::Gguf(file, template)),
            _ => None,
        }
    }

    pub(super) fn task(&self) -> Task {
        match self {
            Self::Gguf(..) => Task::TextGeneration,
            Self::Folder(_) => Task::TextEmbeddings,
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Gguf(path, _) | Self::Folder(path) => path,
        }
    }
}

impl Model {
    /// Loads a model; `progress` is told the bytes read so far and in all.
    pub(super) fn load(files: &Files, progress: &dyn Fn(u64, u64)) -> Result<Self> {
        match files {
            Files::Gguf(path, template) => {
                TextModel::load(path, *template, progress).map(|model| Self::Text(Box::new(model)))
            }
            Files::Folder(path) => {
                let total = ["model.safetensors", "pytorch_model.bin"]
                    .iter()
                    .find_map(|name| fs::metadata(path.join(name)).ok())
                    .map_or(0, |metadata| metadata.len());
                progress(0, total);
                let embedder = Embedder::read(path)?;
                progress(total, total);
                Ok(Self::Embeddings(Box::new(embedder)))
            }
        }
    }
}

impl TextModel {
    fn load(path: &Path, template: Option<&str>, progress: &dyn Fn(u64, u64)) -> Result<Self> {
        let file = File::open(path).map_err(Error::wrap)?;
        // SAFETY: the mapping is read while the model is loaded and no longer. Who changes the file meanwhile gets wrong numbers or
        // an error, as with any program that reads a file that changes.
        let bytes = unsafe { Mmap::map(&file) }.map_err(Error::wrap)?;
        let content = Content::read(&mut Cursor::new(&bytes[..]))?;
        let total = bytes.len() as u64;
        let read = std::cell::Cell::new(content.tensor_data_offset);
        progress(read.get(), total);
        let decoder = Decoder::read(&content, &bytes, &|more| {
            read.set((read.get() + more).min(total));
            progress(read.get(), total);
        })?;
        let metadata = Metadata(&content.metadata);
        let tokenizer = Tokenizer::read(metadata)?;
        let template = match metadata.text("tokenizer.chat_template").or(template) {
            Some(source) => {
                Some(ChatTemplate::compile(source, tokenizer.bos_text(), tokenizer.eos_text()).map_err(Error::wrap)?)
            }
            None => None,
        };
        if decoder.context_length() == 0 {
            bail!("the model can look at no token at all");
        }
        progress(total, total);
        Ok(Self { decoder, tokenizer, template })
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}
