//! The two checksums a hub gives: SHA-256 for what lies in its large store, git's own for the rest.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a file has to come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Of the bytes.
    Sha256(String),
    /// Of the bytes as a blob of git.
    GitBlob(String),
}

/// What the bytes so far come to.
pub(super) enum Digest {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Checksum {
    /// Reads an `etag`, which is the checksum between quotes.
    pub(super) fn parse(etag: &str) -> Option<Self> {
        let text = etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text)),
            40 => Some(Self::GitBlob(text)),
            _ => None,
        }
    }

    /// Enough of it to tell two versions of a file apart.
    pub(super) fn short(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::GitBlob(text) => &text[..12],
        }
    }

    /// What nothing comes to, in a file of `size` bytes.
    pub(super) fn digest(&self, size: u64) -> Digest {
        match self {
            Self::Sha256(_) => Digest::Sha256(Sha256::new()),
            Self::GitBlob(_) => Digest::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }
}

impl Digest {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(digest) => digest.update(bytes),
            Self::GitBlob(digest) => digest.update(bytes),
        }
    }

    pub(super) fn matches(self, checksum: &Checksum) -> bool {
        match (self, checksum) {
            (Self::Sha256(digest), Checksum::Sha256(text)) => format!("{:x}", digest.finalize()) == *text,
            (Self::GitBlob(digest), Checksum::GitBlob(text)) => format!("{:x}", digest.finalize()) == *text,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(etag: &str, bytes: &[u8]) -> bool {
        let checksum = Checksum::parse(etag).expect("a checksum");
        let mut digest = checksum.digest(bytes.len() as u64);
        digest.update(bytes);
        digest.matches(&checksum)
    }

    #[test]
    fn both_kinds_are_known_by_their_length() {
        // `printf hello | sha256sum` and `printf hello | git hash-object --stdin`.
        assert!(matches("\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"", b"hello"));
        assert!(matches("W/\"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0\"", b"hello"));
        assert!(!matches("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", b"hellO"));
        assert_eq!(Checksum::parse("\"abc\""), None);
        assert_eq!(Checksum::parse(&"z".repeat(64)), None);
    }
}
