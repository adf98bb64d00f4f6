//! The ops behind `js/platform/crypto.ts`: what of `crypto.subtle` is done by AWS-LC, and what is bounded and charged. The rest is
//! deno_crypto's.
//!
//! What is over within microseconds per kilobyte runs where it is called, as on Workers: no thread is woken for it, nothing is copied, and
//! the watchdog sees it. What takes long has its own threads, see [`heavy`].
#![expect(clippy::needless_pass_by_value, reason = "op2 prescribes the types in which arguments cross")]

mod aws_lc;
mod heavy;

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
};
use deno_core::{GarbageCollected, OpState, ToJsBuffer, op2, v8};

use aws_lc::{Hash, Key, Refused, Scheme};
pub use heavy::CpuMeter;
pub(crate) use heavy::Workbench;

/// Rounds of PBKDF2 that are done where they are asked for: about two milliseconds.
const INLINE_ROUNDS: u64 = 4096;

#[derive(Debug, thiserror::Error, deno_error::JsError)]
#[class("DOMExceptionOperationError")]
pub(crate) enum CryptoError {
    #[error("the request is over: nothing is computed for it any more")]
    Over,
    #[error("too many derivations and generations of keys wait for their turn in this worker")]
    TooManyWait,
    #[error("the computation failed")]
    Failed,
    #[error("the key is not valid: its parts do not belong together")]
    InvalidKey,
    #[error("the key is not of a kind that this operation takes")]
    WrongKey,
    #[error("unknown hash or scheme {0}")]
    Unknown(String),
    #[error("AES-GCM encryption failed")]
    Seal,
    #[error(
        "Decryption failed. This could be due to a ciphertext authentication failure, bad padding, incorrect CryptoKey, or another algorithm-specific reason. Input length was {0}, output length expected to be {0} for AES-GCM"
    )]
    Open(usize),
    #[error("Decryption failed. This could be due to another key, hash or label than the data was encrypted with.")]
    Oaep,
    #[error("key too small for signing with given digest and salt length")]
    Sign,
    #[error("RSA operation failed.")]
    Generate,
}

/// What a `CryptoKey` holds, in the form that the ops use.
pub(crate) enum HeldKey {
    Secret(Arc<[u8]>),
    Asymmetric(Key),
}

// SAFETY: holds nothing of V8.
unsafe impl GarbageCollected for HeldKey {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static CStr {
        c"HeldKey"
    }
}

impl HeldKey {
    fn secret(&self) -> Result<&Arc<[u8]>, CryptoError> {
        match self {
            Self::Secret(bytes) => Ok(bytes),
            Self::Asymmetric(_) => Err(CryptoError::WrongKey),
        }
    }

    fn asymmetric(&self) -> Result<&Key, CryptoError> {
        match self {
            Self::Asymmetric(key) => Ok(key),
            Self::Secret(_) => Err(CryptoError::WrongKey),
        }
    }
}

/// Puts what the ops here look for into a new isolate's state.
pub(crate) fn install(state: &mut OpState, workbench: Workbench) {
    state.put(workbench);
    state.put(heavy::WaitingBytes::default());
    state.put(heavy::Turns::default());
}

/// Takes key material as deno_crypto exports it: a secret's bytes, PKCS #8, or SubjectPublicKeyInfo.
#[op2]
#[cppgc]
pub(crate) fn op_crypto_hold_key(
    #[string] kind: Cow<'_, str>,
    #[buffer] material: &[u8],
) -> Result<HeldKey, CryptoError> {
    let key = match &*kind {
        "secret" => return Ok(HeldKey::Secret(material.into())),
        "private" => Key::private(material),
        "public" => Key::public(material),
        _ => return Err(CryptoError::Unknown(kind.into_owned())),
    };
    key.map(HeldKey::Asymmetric).map_err(|Refused| CryptoError::InvalidKey)
}

#[op2]
#[arraybuffer]
pub(crate) fn op_crypto_digest(#[string] hash: Cow<'_, str>, #[anybuffer] data: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Ok(aws_lc::digest(hash_of(&hash)?, data))
}

#[op2]
#[arraybuffer]
pub(crate) fn op_crypto_seal(
    #[cppgc] key: &HeldKey,
    #[smi] tag_bits: u32,
    #[anybuffer] nonce: &[u8],
    #[anybuffer] additional: &[u8],
    #[anybuffer] plain: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let sealed = aws_lc::seal_gcm(key.secret()?, tag_bits as usize / 8, nonce, additional, plain);
    sealed.map_err(|Refused| CryptoError::Seal)
}

#[op2]
#[arraybuffer]
pub(crate) fn op_crypto_open(
    #[cppgc] key: &HeldKey,
    #[smi] tag_bits: u32,
    #[anybuffer] nonce: &[u8],
    #[anybuffer] additional: &[u8],
    #[anybuffer] sealed: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let tag_bytes = tag_bits as usize / 8;
    let plain = aws_lc::open_gcm(key.secret()?, tag_bytes, nonce, additional, sealed);
    plain.map_err(|Refused| CryptoError::Open(sealed.len().saturating_sub(tag_bytes)))
}

#[op2]
#[arraybuffer]
pub(crate) fn op_crypto_decrypt_oaep(
    #[cppgc] key: &HeldKey,
    #[string] hash: Cow<'_, str>,
    #[anybuffer] label: &[u8],
    #[anybuffer] sealed: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let plain = key.asymmetric()?.decrypt_oaep(hash_of(&hash)?, label, sealed);
    plain.map_err(|Refused| CryptoError::Oaep)
}

#[op2]
#[arraybuffer]
pub(crate) fn op_crypto_sign(
    #[cppgc] key: &HeldKey,
    #[string] scheme: Cow<'_, str>,
    #[string] hash: Cow<'_, str>,
    #[smi] salt_bytes: u32,
    #[anybuffer] data: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    if scheme == "HMAC" {
        return Ok(aws_lc::hmac(hash_of(&hash)?, key.secret()?, data));
    }
    let signature = key.asymmetric()?.sign(scheme_of(&scheme, &hash, salt_bytes)?, data);
    signature.map_err(|Refused| CryptoError::Sign)
}

#[op2]
pub(crate) fn op_crypto_verify(
    #[cppgc] key: &HeldKey,
    #[string] scheme: Cow<'_, str>,
    #[string] hash: Cow<'_, str>,
    #[smi] salt_bytes: u32,
    #[anybuffer] signature: &[u8],
    #[anybuffer] data: &[u8],
) -> Result<bool, CryptoError> {
    if scheme == "HMAC" {
        return Ok(aws_lc::equal(&aws_lc::hmac(hash_of(&hash)?, key.secret()?, data), signature));
    }
    Ok(key.asymmetric()?.verify(scheme_of(&scheme, &hash, salt_bytes)?, signature, data))
}

/// Whether the parts of a private EC key belong together. `public` is the uncompressed point.
#[op2(fast)]
pub(crate) fn op_crypto_is_ec_pair(
    #[string] curve: Cow<'_, str>,
    #[buffer] private: &[u8],
    #[buffer] public: &[u8],
) -> Result<bool, CryptoError> {
    let algorithm = match &*curve {
        "P-256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
        "P-384" => &ECDSA_P384_SHA384_FIXED_SIGNING,
        "P-521" => &ECDSA_P521_SHA512_FIXED_SIGNING,
        _ => return Err(CryptoError::Unknown(curve.into_owned())),
    };
    Ok(EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public).is_ok())
}

/// A new RSA key: PKCS #8 and SubjectPublicKeyInfo.
#[op2]
#[serde]
pub(crate) async fn op_crypto_generate_rsa(
    state: Rc<RefCell<OpState>>,
    #[number] invocation: u64,
    #[smi] bits: u32,
    #[smi] exponent: u32,
) -> Result<(ToJsBuffer, ToJsBuffer), CryptoError> {
    let generated = heavy::run(state, invocation, 0, move |called_off| {
        let key = Key::generate_rsa(bits, exponent, called_off)?;
        Ok::<_, Refused>((key.to_pkcs8()?, key.to_spki()?))
    });
    let (private, public) = generated.await?.map_err(|Refused| CryptoError::Generate)?;
    Ok((private.into(), public.into()))
}

/// `length` bytes of PBKDF2 with HMAC.
#[op2]
#[arraybuffer]
pub(crate) async fn op_crypto_pbkdf2(
    state: Rc<RefCell<OpState>>,
    #[number] invocation: u64,
    #[cppgc] password: &HeldKey,
    #[string] hash: String,
    #[buffer(copy)] salt: Vec<u8>,
    #[smi] iterations: u32,
    #[smi] length: u32,
) -> Result<Vec<u8>, CryptoError> {
    let hash = hash_of(&hash)?;
    let password = password.secret()?.clone();
    let length = length as usize;
    let rounds = u64::from(iterations) * length.div_ceil(hash.bytes()) as u64;
    let derived = if rounds <= INLINE_ROUNDS {
        aws_lc::pbkdf2(hash, &password, &salt, iterations, length)
    } else {
        let inputs = salt.len();
        let derive = move |_: &AtomicBool| aws_lc::pbkdf2(hash, &password, &salt, iterations, length);
        heavy::run(state, invocation, inputs, derive).await?
    };
    derived.map_err(|Refused| CryptoError::Failed)
}

/// Waits until a computation of deno_crypto that takes long may begin.
#[op2]
#[smi]
pub(crate) async fn op_crypto_begin_turn(
    state: Rc<RefCell<OpState>>,
    #[number] invocation: u64,
) -> Result<u32, CryptoError> {
    heavy::begin_turn(state, invocation).await
}

/// It has ended.
#[op2(fast)]
pub(crate) fn op_crypto_end_turn(state: &mut OpState, #[smi] turn: u32) {
    heavy::end_turn(state, turn);
}

fn hash_of(name: &str) -> Result<Hash, CryptoError> {
    Hash::from_name(name).ok_or_else(|| CryptoError::Unknown(name.to_owned()))
}

fn scheme_of(name: &str, hash: &str, salt_bytes: u32) -> Result<Scheme, CryptoError> {
    let hash = hash_of(hash)?;
    match name {
        "RSASSA-PKCS1-v1_5" => Ok(Scheme::RsaPkcs1(hash)),
        "RSA-PSS" => Ok(Scheme::RsaPss { hash, salt_bytes }),
        "ECDSA" => Ok(Scheme::Ecdsa(hash)),
        _ => Err(CryptoError::Unknown(name.to_owned())),
    }
}
