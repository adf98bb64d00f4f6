//! Checksums of what is stored (Cloudflare contract, section 4.6).

use aerostack_bindings::Result;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::limits::Problem;

/// The algorithms that R2 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, 16 bytes. Every object that was stored by one `put` has it.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// The checksum of an object by one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The bytes, as many as the algorithm makes.
    pub digest: Vec<u8>,
}

/// All checksums that are known of an object, at most one an algorithm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums(pub Vec<Checksum>);

/// Checksums of bytes that arrive piece by piece: the MD5, and what the caller wants compared.
pub struct Hashes {
    md5: Md5,
    other: Option<Other>,
    expected: Option<Checksum>,
}

enum Other {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Algorithm {
    /// All of them, in the order in which R2 names them.
    pub const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name of the option and of the property.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The name in error texts.
    pub fn title(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// The algorithm of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl Checksums {
    /// The checksum by one algorithm.
    pub fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.0.iter().find(|checksum| checksum.algorithm == algorithm).map(|checksum| &checksum.digest[..])
    }
}

impl Hashes {
    /// The MD5 and the algorithm of `expected`.
    pub fn new(expected: Option<Checksum>) -> Self {
        let other = match expected.as_ref().map(|checksum| checksum.algorithm) {
            None | Some(Algorithm::Md5) => None,
            Some(Algorithm::Sha1) => Some(Other::Sha1(Sha1::new())),
            Some(Algorithm::Sha256) => Some(Other::Sha256(Sha256::new())),
            Some(Algorithm::Sha384) => Some(Other::Sha384(Sha384::new())),
            Some(Algorithm::Sha512) => Some(Other::Sha512(Sha512::new())),
        };
        Self { md5: Md5::new(), other, expected }
    }

    /// Adds what has arrived.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        match &mut self.other {
            None => {}
            Some(Other::Sha1(hash)) => hash.update(bytes),
            Some(Other::Sha256(hash)) => hash.update(bytes),
            Some(Other::Sha384(hash)) => hash.update(bytes),
            Some(Other::Sha512(hash)) => hash.update(bytes),
        }
    }

    /// The checksums of everything that has arrived.
    ///
    /// # Errors
    /// [`Problem::BadDigest`] where they are not what the caller expects.
    pub fn finish(self) -> Result<Checksums> {
        let mut checksums = vec![Checksum { algorithm: Algorithm::Md5, digest: self.md5.finalize().to_vec() }];
        let other = self.other.map(|hash| match hash {
            Other::Sha1(hash) => (Algorithm::Sha1, hash.finalize().to_vec()),
            Other::Sha256(hash) => (Algorithm::Sha256, hash.finalize().to_vec()),
            Other::Sha384(hash) => (Algorithm::Sha384, hash.finalize().to_vec()),
            Other::Sha512(hash) => (Algorithm::Sha512, hash.finalize().to_vec()),
        });
        checksums.extend(other.map(|(algorithm, digest)| Checksum { algorithm, digest }));
        let checksums = Checksums(checksums);
        if let Some(Checksum { algorithm, digest: provided }) = self.expected {
            let actual = checksums.get(algorithm).unwrap_or_default();
            if provided != actual {
                return Err(Problem::BadDigest { algorithm, provided, actual: actual.to_vec() }.into());
            }
        }
        Ok(checksums)
    }
}

/// The bytes as lower-case hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes that hex digits of either case stand for.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|character| character.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The MD5 of bytes that lie together.
pub fn md5_of(bytes: &[u8]) -> Vec<u8> {
    Md5::digest(bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 1321, A.5, and FIPS 180: the digests of "abc".
    const ABC: [(Algorithm, &str); 5] = [
        (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
        (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            Algorithm::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            Algorithm::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ];

    fn hashed(expected: Option<Checksum>) -> Result<Checksums> {
        let mut hashes = Hashes::new(expected);
        hashes.update(b"a");
        hashes.update(b"");
        hashes.update(b"bc");
        hashes.finish()
    }

    #[test]
    fn every_algorithm_gives_the_published_digest() {
        for (algorithm, hex) in ABC {
            let digest = from_hex(hex).expect("hex");
            let checksums = hashed(Some(Checksum { algorithm, digest: digest.clone() })).expect("they are the same");
            assert_eq!(checksums.get(algorithm), Some(&digest[..]));
            assert_eq!(checksums.get(Algorithm::Md5).map(to_hex).as_deref(), Some(ABC[0].1));
            assert_eq!(checksums.0.len(), if algorithm == Algorithm::Md5 { 1 } else { 2 });
        }
    }

    #[test]
    fn another_digest_is_refused() {
        for (algorithm, hex) in ABC {
            let mut digest = from_hex(hex).expect("hex");
            digest[0] ^= 1;
            let error = hashed(Some(Checksum { algorithm, digest })).expect_err("refused");
            assert!(error.message().starts_with(&format!("The {} checksum", algorithm.title())), "{error}");
            assert!(error.message().ends_with(hex), "{error}");
        }
    }

    #[test]
    fn hex_goes_both_ways() {
        assert_eq!(to_hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(from_hex("001FfF"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("é"), None);
    }
}
