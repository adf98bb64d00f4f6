//! AWS-LC where its safe crate has no words for what WebCrypto allows: AES-GCM with short tags and nonces of any length, RSA keys below
//! 2,048 bits and with the exponent 3, salts of any length, SHA-1, ECDSA with any hash on any curve, and a generation of keys that can
//! be called off. Each function here is whole: what it allocates it frees, on every path.

use std::borrow::Cow;
use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_sys as sys;

/// AWS-LC did not do what it was asked to: the input does not fit, or is not authentic.
#[derive(Debug)]
pub(crate) struct Refused;

impl Refused {
    /// AWS-LC keeps its reasons in a queue of the thread, where nobody looks for them.
    fn new() -> Self {
        // SAFETY: has no preconditions.
        unsafe { sys::ERR_clear_error() };
        Self
    }

    /// What AWS-LC's functions return for success is 1.
    fn unless(returned: c_int) -> Result<(), Self> {
        if returned == 1 { Ok(()) } else { Err(Self::new()) }
    }
}

/// The hashes that signatures and derivations are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// By the name that WebCrypto gives it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "SHA-1" => Self::Sha1,
            "SHA-256" => Self::Sha256,
            "SHA-384" => Self::Sha384,
            "SHA-512" => Self::Sha512,
            _ => return None,
        })
    }

    /// Length of the hash in bytes.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn raw(self) -> *const sys::EVP_MD {
        // SAFETY: these return pointers to constants.
        unsafe {
            match self {
                Self::Sha1 => sys::EVP_sha1(),
                Self::Sha256 => sys::EVP_sha256(),
                Self::Sha384 => sys::EVP_sha384(),
                Self::Sha512 => sys::EVP_sha512(),
            }
        }
    }
}

/// How a signature is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheme {
    RsaPkcs1(Hash),
    RsaPss { hash: Hash, salt_bytes: u32 },
    Ecdsa(Hash),
}

impl Scheme {
    fn hash(self) -> Hash {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss { hash, .. } | Self::Ecdsa(hash) => hash,
        }
    }
}

/// A type that owns what AWS-LC allocated.
macro_rules! owned {
    ($name:ident, $raw:ty, $free:path) => {
        struct $name(NonNull<$raw>);

        impl $name {
            fn new(raw: *mut $raw) -> Result<Self, Refused> {
                NonNull::new(raw).map(Self).ok_or_else(Refused::new)
            }

            fn get(&self) -> *mut $raw {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: AWS-LC allocated it, and nothing else frees it.
                unsafe { $free(self.0.as_ptr()) }
            }
        }
    };
}

owned!(AeadContext, sys::EVP_AEAD_CTX, sys::EVP_AEAD_CTX_free);
owned!(DigestContext, sys::EVP_MD_CTX, sys::EVP_MD_CTX_free);
owned!(KeyContext, sys::EVP_PKEY_CTX, sys::EVP_PKEY_CTX_free);
owned!(Rsa, sys::RSA, sys::RSA_free);
owned!(BigNumber, sys::BIGNUM, sys::BN_free);
owned!(Progress, sys::BN_GENCB, sys::BN_GENCB_free);
owned!(EcdsaSignature, sys::ECDSA_SIG, sys::ECDSA_SIG_free);
owned!(RawKey, sys::EVP_PKEY, sys::EVP_PKEY_free);

/// The hash of `data`.
pub(crate) fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; hash.bytes()];
    let mut written: c_uint = 0;
    // SAFETY: `out` has room for the hash, which is what is written.
    let returned = unsafe {
        sys::EVP_Digest(data.as_ptr().cast(), data.len(), out.as_mut_ptr(), &raw mut written, hash.raw(), null_mut())
    };
    assert!(returned == 1 && written as usize == out.len(), "a digest does not fail");
    out
}

/// The HMAC of `data`.
pub(crate) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; hash.bytes()];
    let mut written: c_uint = 0;
    // SAFETY: `out` has room for the hash, which is what is written.
    let returned = unsafe {
        sys::HMAC(
            hash.raw(),
            key.as_ptr().cast(),
            key.len(),
            data.as_ptr(),
            data.len(),
            out.as_mut_ptr(),
            &raw mut written,
        )
    };
    assert!(!returned.is_null() && written as usize == out.len(), "an HMAC does not fail");
    out
}

/// Whether both are the same, in a time that depends on the length alone.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    // SAFETY: both have the length that is given.
    one.len() == other.len()
        && unsafe { sys::CRYPTO_memcmp(one.as_ptr().cast(), other.as_ptr().cast(), one.len()) } == 0
}

/// `length` bytes of PBKDF2 with HMAC.
pub(crate) fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Result<Vec<u8>, Refused> {
    let mut out = vec![0; length];
    // SAFETY: `out` has the length that is given.
    Refused::unless(unsafe {
        sys::PKCS5_PBKDF2_HMAC(
            password.as_ptr().cast(),
            password.len(),
            salt.as_ptr(),
            salt.len(),
            iterations,
            hash.raw(),
            length,
            out.as_mut_ptr(),
        )
    })?;
    Ok(out)
}

/// AES-GCM: what `plain` becomes, and behind it the tag of 4 to 16 bytes. The nonce must not be empty.
pub(crate) fn seal_gcm(
    key: &[u8],
    tag_bytes: usize,
    nonce: &[u8],
    additional: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, Refused> {
    let context = gcm(key, tag_bytes)?;
    let mut sealed = vec![0; plain.len() + tag_bytes];
    let mut written = 0;
    // SAFETY: AWS-LC writes at most `sealed.len()` bytes; the slices do not overlap.
    Refused::unless(unsafe {
        sys::EVP_AEAD_CTX_seal(
            context.get(),
            sealed.as_mut_ptr(),
            &raw mut written,
            sealed.len(),
            nonce.as_ptr(),
            nonce.len(),
            plain.as_ptr(),
            plain.len(),
            additional.as_ptr(),
            additional.len(),
        )
    })?;
    sealed.truncate(written);
    Ok(sealed)
}

/// The inverse of [`seal_gcm`]; refuses what is not authentic.
pub(crate) fn open_gcm(
    key: &[u8],
    tag_bytes: usize,
    nonce: &[u8],
    additional: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, Refused> {
    let context = gcm(key, tag_bytes)?;
    let mut plain = vec![0; sealed.len()];
    let mut written = 0;
    // SAFETY: AWS-LC writes at most `plain.len()` bytes; the slices do not overlap.
    Refused::unless(unsafe {
        sys::EVP_AEAD_CTX_open(
            context.get(),
            plain.as_mut_ptr(),
            &raw mut written,
            plain.len(),
            nonce.as_ptr(),
            nonce.len(),
            sealed.as_ptr(),
            sealed.len(),
            additional.as_ptr(),
            additional.len(),
        )
    })?;
    plain.truncate(written);
    Ok(plain)
}

fn gcm(key: &[u8], tag_bytes: usize) -> Result<AeadContext, Refused> {
    // 0 would be AWS-LC's default length.
    if !(4..=16).contains(&tag_bytes) {
        return Err(Refused);
    }
    // SAFETY: the algorithms are constants, and the key has the length that is given.
    unsafe {
        let algorithm = match key.len() {
            16 => sys::EVP_aead_aes_128_gcm(),
            24 => sys::EVP_aead_aes_192_gcm(),
            32 => sys::EVP_aead_aes_256_gcm(),
            _ => return Err(Refused),
        };
        AeadContext::new(sys::EVP_AEAD_CTX_new(algorithm, key.as_ptr(), key.len(), tag_bytes))
    }
}

/// An RSA or EC key, public or private.
pub(crate) struct Key(RawKey);

impl Key {
    /// A private key in PKCS #8, which must be consistent.
    pub(crate) fn private(pkcs8: &[u8]) -> Result<Self, Refused> {
        Self::parse(pkcs8, sys::EVP_parse_private_key)
    }

    /// A public key as SubjectPublicKeyInfo.
    pub(crate) fn public(spki: &[u8]) -> Result<Self, Refused> {
        Self::parse(spki, sys::EVP_parse_public_key)
    }

    fn parse(der: &[u8], parse: unsafe extern "C" fn(*mut sys::CBS) -> *mut sys::EVP_PKEY) -> Result<Self, Refused> {
        let mut reader = sys::CBS { data: der.as_ptr(), len: der.len() };
        // SAFETY: the reader is over `der`, which lives longer.
        let key = RawKey::new(unsafe { parse(&raw mut reader) })?;
        if reader.len == 0 { Ok(Self(key)) } else { Err(Refused) }
    }

    /// A new RSA key. Ends early, refused, once `called_off` is true.
    pub(crate) fn generate_rsa(bits: u32, exponent: u32, called_off: &AtomicBool) -> Result<Self, Refused> {
        let bits = c_int::try_from(bits).map_err(|_| Refused)?;
        // SAFETY: each pointer is owned here; `called_off` outlives the generation, which alone calls `goes_on`.
        unsafe {
            let rsa = Rsa::new(sys::RSA_new())?;
            let public = BigNumber::new(sys::BN_new())?;
            Refused::unless(sys::BN_set_word(public.get(), sys::BN_ULONG::from(exponent)))?;
            let progress = Progress::new(sys::BN_GENCB_new())?;
            let argument: *const AtomicBool = called_off;
            sys::BN_GENCB_set(progress.get(), Some(goes_on), argument.cast_mut().cast());
            Refused::unless(sys::RSA_generate_key_ex(rsa.get(), bits, public.get(), progress.get()))?;
            let key = RawKey::new(sys::EVP_PKEY_new())?;
            Refused::unless(sys::EVP_PKEY_assign_RSA(key.get(), rsa.get()))?;
            // It belongs to the key now.
            std::mem::forget(rsa);
            Ok(Self(key))
        }
    }

    /// The private key in PKCS #8.
    pub(crate) fn to_pkcs8(&self) -> Result<Vec<u8>, Refused> {
        self.write(sys::EVP_marshal_private_key)
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(crate) fn to_spki(&self) -> Result<Vec<u8>, Refused> {
        self.write(sys::EVP_marshal_public_key)
    }

    fn write(
        &self,
        write: unsafe extern "C" fn(*mut sys::CBB, *const sys::EVP_PKEY) -> c_int,
    ) -> Result<Vec<u8>, Refused> {
        let mut builder = MaybeUninit::<sys::CBB>::zeroed();
        let builder = builder.as_mut_ptr();
        let (mut bytes, mut length) = (null_mut(), 0);
        // SAFETY: zeroes are a valid builder before CBB_init, and one that was cleaned up stays valid.
        unsafe {
            let written = Refused::unless(sys::CBB_init(builder, 0))
                .and_then(|()| Refused::unless(write(builder, self.0.get())))
                .and_then(|()| Refused::unless(sys::CBB_finish(builder, &raw mut bytes, &raw mut length)));
            if let Err(refused) = written {
                sys::CBB_cleanup(builder);
                return Err(refused);
            }
            Ok(take_bytes(bytes, length))
        }
    }

    /// A signature; that of ECDSA as r and s, each as long as the order of the curve.
    pub(crate) fn sign(&self, scheme: Scheme, data: &[u8]) -> Result<Vec<u8>, Refused> {
        // SAFETY: the context that `prepare` sees belongs to `context`; the signature has the room that AWS-LC asked for.
        let signature = unsafe {
            let context = DigestContext::new(sys::EVP_MD_CTX_new())?;
            let mut inner = null_mut();
            let hash = scheme.hash().raw();
            Refused::unless(sys::EVP_DigestSignInit(context.get(), &raw mut inner, hash, null_mut(), self.0.get()))?;
            prepare(inner, scheme)?;
            let mut length = 0;
            let room = sys::EVP_DigestSign(context.get(), null_mut(), &raw mut length, data.as_ptr(), data.len());
            Refused::unless(room)?;
            let mut signature = vec![0; length];
            Refused::unless(sys::EVP_DigestSign(
                context.get(),
                signature.as_mut_ptr(),
                &raw mut length,
                data.as_ptr(),
                data.len(),
            ))?;
            signature.truncate(length);
            signature
        };
        match scheme {
            Scheme::Ecdsa(_) => self.flat_signature(&signature),
            Scheme::RsaPkcs1(_) | Scheme::RsaPss { .. } => Ok(signature),
        }
    }

    /// Whether the signature is of `data`.
    pub(crate) fn verify(&self, scheme: Scheme, signature: &[u8], data: &[u8]) -> bool {
        let verify = || {
            let signature = match scheme {
                Scheme::Ecdsa(_) => Cow::Owned(self.nested_signature(signature)?),
                Scheme::RsaPkcs1(_) | Scheme::RsaPss { .. } => Cow::Borrowed(signature),
            };
            // SAFETY: the context that `prepare` sees belongs to `context`; the slices have the lengths that are given.
            unsafe {
                let context = DigestContext::new(sys::EVP_MD_CTX_new())?;
                let mut inner = null_mut();
                let hash = scheme.hash().raw();
                let begun = sys::EVP_DigestVerifyInit(context.get(), &raw mut inner, hash, null_mut(), self.0.get());
                Refused::unless(begun)?;
                prepare(inner, scheme)?;
                Refused::unless(sys::EVP_DigestVerify(
                    context.get(),
                    signature.as_ptr(),
                    signature.len(),
                    data.as_ptr(),
                    data.len(),
                ))
            }
        };
        verify().is_ok()
    }

    /// What was encrypted to this RSA key with OAEP, whose mask is made with the same hash.
    pub(crate) fn decrypt_oaep(&self, hash: Hash, label: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        // SAFETY: the context lives until the end; the label is a copy that it takes over; `plain` has the room AWS-LC asked for.
        unsafe {
            let context = KeyContext::new(sys::EVP_PKEY_CTX_new(self.0.get(), null_mut()))?;
            Refused::unless(sys::EVP_PKEY_decrypt_init(context.get()))?;
            Refused::unless(sys::EVP_PKEY_CTX_set_rsa_padding(context.get(), sys::RSA_PKCS1_OAEP_PADDING))?;
            Refused::unless(sys::EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), hash.raw()))?;
            Refused::unless(sys::EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), hash.raw()))?;
            if !label.is_empty() {
                let copy = sys::OPENSSL_malloc(label.len()).cast::<u8>();
                if copy.is_null() {
                    return Err(Refused);
                }
                copy.copy_from_nonoverlapping(label.as_ptr(), label.len());
                let taken = sys::EVP_PKEY_CTX_set0_rsa_oaep_label(context.get(), copy, label.len());
                Refused::unless(taken).inspect_err(|_| sys::OPENSSL_free(copy.cast()))?;
            }
            let mut length = 0;
            let room = sys::EVP_PKEY_decrypt(context.get(), null_mut(), &raw mut length, sealed.as_ptr(), sealed.len());
            Refused::unless(room)?;
            let mut plain = vec![0; length];
            Refused::unless(sys::EVP_PKEY_decrypt(
                context.get(),
                plain.as_mut_ptr(),
                &raw mut length,
                sealed.as_ptr(),
                sealed.len(),
            ))?;
            plain.truncate(length);
            Ok(plain)
        }
    }

    /// Bytes of each half of an ECDSA signature.
    fn half_bytes(&self) -> usize {
        // SAFETY: the key is valid.
        let bits = unsafe { sys::EVP_PKEY_bits(self.0.get()) };
        usize::try_from(bits).unwrap_or(0).div_ceil(8)
    }

    /// An ECDSA signature as WebCrypto has it, from one as AWS-LC has it.
    fn flat_signature(&self, nested: &[u8]) -> Result<Vec<u8>, Refused> {
        let half = self.half_bytes();
        let mut flat = vec![0; 2 * half];
        // SAFETY: the numbers belong to the signature, and each half has the length that is given.
        unsafe {
            let signature = EcdsaSignature::new(sys::ECDSA_SIG_from_bytes(nested.as_ptr(), nested.len()))?;
            let (r, s) = (sys::ECDSA_SIG_get0_r(signature.get()), sys::ECDSA_SIG_get0_s(signature.get()));
            Refused::unless(sys::BN_bn2bin_padded(flat.as_mut_ptr(), half, r))?;
            Refused::unless(sys::BN_bn2bin_padded(flat[half..].as_mut_ptr(), half, s))?;
        }
        Ok(flat)
    }

    /// The inverse of [`Self::flat_signature`].
    fn nested_signature(&self, flat: &[u8]) -> Result<Vec<u8>, Refused> {
        let half = self.half_bytes();
        if flat.len() != 2 * half {
            return Err(Refused);
        }
        // SAFETY: the signature takes the numbers over; the bytes are AWS-LC's until they are taken.
        unsafe {
            let signature = EcdsaSignature::new(sys::ECDSA_SIG_new())?;
            let r = BigNumber::new(sys::BN_bin2bn(flat.as_ptr(), half, null_mut()))?;
            let s = BigNumber::new(sys::BN_bin2bn(flat[half..].as_ptr(), half, null_mut()))?;
            Refused::unless(sys::ECDSA_SIG_set0(signature.get(), r.get(), s.get()))?;
            std::mem::forget((r, s));
            let (mut bytes, mut length) = (null_mut(), 0);
            Refused::unless(sys::ECDSA_SIG_to_bytes(&raw mut bytes, &raw mut length, signature.get()))?;
            Ok(take_bytes(bytes, length))
        }
    }
}

/// Sets what a scheme asks for beside its hash.
///
/// # Safety
///
/// `context` is that of a signature or a verification that has begun.
unsafe fn prepare(context: *mut sys::EVP_PKEY_CTX, scheme: Scheme) -> Result<(), Refused> {
    let Scheme::RsaPss { salt_bytes, .. } = scheme else { return Ok(()) };
    let salt_bytes = c_int::try_from(salt_bytes).map_err(|_| Refused)?;
    // SAFETY: promised to this function.
    unsafe {
        Refused::unless(sys::EVP_PKEY_CTX_set_rsa_padding(context, sys::RSA_PKCS1_PSS_PADDING))?;
        Refused::unless(sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt_bytes))
    }
}

/// # Safety
///
/// AWS-LC allocated `length` bytes there for the caller to free.
unsafe fn take_bytes(bytes: *mut u8, length: usize) -> Vec<u8> {
    // SAFETY: promised to this function.
    unsafe {
        let copy = std::slice::from_raw_parts(bytes, length).to_vec();
        sys::OPENSSL_free(bytes.cast());
        copy
    }
}

/// Asked by AWS-LC again and again while it looks for primes: 0 ends the search.
unsafe extern "C" fn goes_on(_event: c_int, _count: c_int, progress: *mut sys::BN_GENCB) -> c_int {
    // SAFETY: the argument is the `AtomicBool` of `generate_rsa`, which has not returned.
    let called_off = unsafe { &*sys::BN_GENCB_get_arg(progress).cast::<AtomicBool>().cast_const() };
    c_int::from(!called_off.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::{Hash, Key, Scheme, digest, equal, hmac, open_gcm, pbkdf2, seal_gcm};

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
            .collect()
    }

    #[test]
    fn aes_gcm_goes_round_with_every_tag_nonce_and_key_length() {
        for key in [&[1; 16][..], &[2; 24], &[3; 32]] {
            for tag in [4, 8, 12, 13, 14, 15, 16] {
                for nonce in [1, 2, 7, 8, 11, 12, 13, 16, 20, 32, 64, 1000] {
                    let nonce = vec![7; nonce];
                    let mut sealed = seal_gcm(key, tag, &nonce, b"additional", b"plain").expect("seals");
                    assert_eq!(sealed.len(), 5 + tag);
                    let opened = open_gcm(key, tag, &nonce, b"additional", &sealed).expect("opens");
                    assert_eq!(opened, b"plain");
                    assert!(open_gcm(key, tag, &nonce, b"another", &sealed).is_err());
                    *sealed.last_mut().expect("not empty") ^= 1;
                    assert!(open_gcm(key, tag, &nonce, b"additional", &sealed).is_err());
                }
            }
        }
        assert!(seal_gcm(&[1; 16], 16, &[], b"", b"plain").is_err(), "an empty nonce is none");
        assert!(seal_gcm(&[1; 15], 16, &[7; 12], b"", b"plain").is_err(), "15 bytes are no key");
        assert!(seal_gcm(&[1; 16], 0, &[7; 12], b"", b"plain").is_err(), "a tag of 0 bytes is none");
    }

    #[test]
    fn aes_gcm_agrees_with_workerd_on_nonces_that_are_not_96_bits() {
        let sealed = |nonce: usize| seal_gcm(&[0; 16], 16, &vec![7; nonce], b"", b"data").expect("seals");
        assert_eq!(
            sealed(1),
            [56, 150, 204, 157, 6, 1, 189, 95, 0, 62, 101, 149, 125, 210, 118, 94, 184, 105, 94, 114]
        );
        assert_eq!(
            sealed(13),
            [200, 76, 180, 16, 255, 175, 26, 158, 133, 21, 160, 150, 130, 245, 35, 207, 143, 86, 170, 116]
        );
        assert_eq!(
            sealed(100_000),
            [1, 196, 211, 167, 151, 68, 134, 249, 255, 34, 146, 129, 45, 241, 138, 251, 153, 139, 24, 127]
        );
    }

    #[test]
    fn rsa_keys_of_any_legal_size_sign_with_every_scheme() {
        let go_on = AtomicBool::new(false);
        for (bits, exponent) in [(1024, 3), (1152, 65537), (2048, 65537)] {
            let key = Key::generate_rsa(bits, exponent, &go_on).expect("generates");
            let private = Key::private(&key.to_pkcs8().expect("writes")).expect("reads");
            let public = Key::public(&key.to_spki().expect("writes")).expect("reads");
            for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
                for scheme in [
                    Scheme::RsaPkcs1(hash),
                    Scheme::RsaPss { hash, salt_bytes: 0 },
                    Scheme::RsaPss { hash, salt_bytes: 20 },
                ] {
                    let signature = private.sign(scheme, b"data").expect("signs");
                    assert_eq!(signature.len(), bits as usize / 8);
                    assert!(public.verify(scheme, &signature, b"data"));
                    assert!(!public.verify(scheme, &signature, b"other"));
                    assert!(!public.verify(scheme, &signature[1..], b"data"));
                }
            }
            let scheme = Scheme::RsaPss { hash: Hash::Sha256, salt_bytes: bits / 8 };
            assert!(private.sign(scheme, b"data").is_err(), "a salt has to fit into the key");
        }
    }

    #[test]
    fn a_generation_ends_once_it_is_called_off() {
        assert!(Key::generate_rsa(4096, 65537, &AtomicBool::new(true)).is_err());
    }

    #[test]
    fn digests_and_hmacs_are_those_of_the_standards() {
        assert_eq!(hex(&digest(Hash::Sha1, b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            hex(&hmac(Hash::Sha256, b"key", b"The quick brown fox jumps over the lazy dog")),
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
        let derived = pbkdf2(Hash::Sha256, b"password", b"salt", 1, 32).expect("derives");
        assert_eq!(hex(&derived), "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b");
        assert!(equal(b"same", b"same") && !equal(b"same", b"sane") && !equal(b"same", b"sam"));
    }
}
