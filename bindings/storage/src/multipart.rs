//! Which uploaded parts make an object (Cloudflare contract, section 4.7).

use std::collections::HashMap;

use aerostack_bindings::Result;

use crate::UploadedPart;
use crate::checksum::{md5_of, to_hex};
use crate::limits::{MAX_OBJECT_BYTES, Problem};

/// What is known of a part that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Its number and etag, as the caller was told them.
    pub part: UploadedPart,
    /// How many bytes it has.
    pub size: u64,
    /// The MD5 of its bytes.
    pub md5: Vec<u8>,
}

/// The parts that a caller selects, in the order of their numbers, which is that of their bytes in the object.
///
/// # Errors
/// The [`Problem`] that R2 has with the selection: a number that comes twice, a part that is not there or was replaced, parts
/// other than the last that are smaller than `min_part_bytes` or differ in size, a last part larger than the others, an object
/// that would be too large.
pub fn select(selected: &[UploadedPart], uploaded: Vec<StoredPart>, min_part_bytes: u64) -> Result<Vec<StoredPart>> {
    let mut places = HashMap::new();
    for (place, part) in selected.iter().enumerate() {
        if places.insert(part.number, place).is_some() {
            return Err(Problem::Internal.into());
        }
    }
    let mut uploaded: HashMap<u32, StoredPart> =
        uploaded.into_iter().map(|stored| (stored.part.number, stored)).collect();
    let mut parts = Vec::with_capacity(selected.len());
    for part in selected {
        match uploaded.remove(&part.number) {
            Some(stored) if stored.part.etag == part.etag => parts.push(stored),
            _ => return Err(Problem::InvalidPart.into()),
        }
    }
    // In the order of the caller first: that a part is too small is a clearer answer than what follows from it.
    if all_but_last(&parts).iter().any(|part| part.size < min_part_bytes) {
        return Err(Problem::EntityTooSmall.into());
    }
    parts.sort_by_key(|stored| stored.part.number);
    if let [first, .., last] = &parts[..] {
        let is_uneven = all_but_last(&parts).iter().any(|part| part.size < min_part_bytes || part.size != first.size);
        if is_uneven || last.size > first.size {
            return Err(Problem::BadUpload.into());
        }
    }
    if parts.iter().map(|part| part.size).sum::<u64>() > MAX_OBJECT_BYTES {
        return Err(Problem::EntityTooLarge.into());
    }
    Ok(parts)
}

/// The etag of an object that is made of these parts.
pub fn etag_of(parts: &[StoredPart]) -> String {
    let digests: Vec<u8> = parts.iter().flat_map(|part| part.md5.iter().copied()).collect();
    format!("{}-{}", to_hex(&md5_of(&digests)), parts.len())
}

fn all_but_last(parts: &[StoredPart]) -> &[StoredPart] {
    parts.split_last().map_or(&[], |(_, others)| others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, etag: &str) -> UploadedPart {
        UploadedPart { number, etag: etag.to_owned() }
    }

    fn stored(number: u32, size: u64) -> StoredPart {
        StoredPart { part: part(number, "etag"), size, md5: md5_of(&[number as u8]) }
    }

    /// The numbers in their order, or the number of the error.
    fn outcome(selected: &[u32], uploaded: &[(u32, u64)]) -> Result<Vec<u32>, String> {
        let selected: Vec<_> = selected.iter().map(|number| part(*number, "etag")).collect();
        let uploaded = uploaded.iter().map(|(number, size)| stored(*number, *size)).collect();
        match select(&selected, uploaded, 10) {
            Ok(parts) => Ok(parts.into_iter().map(|stored| stored.part.number).collect()),
            Err(error) => Err(error.context()[0].1.clone()),
        }
    }

    #[test]
    fn parts_are_ordered_by_their_numbers_whatever_the_order_they_are_given_in() {
        assert_eq!(outcome(&[7, 2, 5], &[(2, 10), (5, 10), (7, 10), (9, 1)]), Ok(vec![2, 5, 7]));
        assert_eq!(outcome(&[3], &[(3, 1)]), Ok(vec![3]));
        assert_eq!(outcome(&[], &[(3, 1)]), Ok(vec![]));
    }

    #[test]
    fn wrong_selections_have_the_errors_of_r2() {
        assert_eq!(outcome(&[1, 1], &[(1, 10)]), Err("10001".to_owned()));
        assert_eq!(outcome(&[1, 2], &[(1, 10)]), Err("10025".to_owned()));
        assert_eq!(outcome(&[1, 2], &[(1, 9), (2, 10)]), Err("10011".to_owned()));
        assert_eq!(outcome(&[1, 2, 3], &[(1, 10), (2, 11), (3, 1)]), Err("10048".to_owned()));
        assert_eq!(outcome(&[1, 2], &[(1, 10), (2, 11)]), Err("10048".to_owned()));
        // Small in its place by number, although it was given last.
        assert_eq!(outcome(&[2, 1], &[(1, 9), (2, 10)]), Err("10048".to_owned()));
        let replaced = select(&[part(1, "old")], vec![stored(1, 10)], 10).expect_err("refused");
        assert_eq!(replaced.message(), "One or more of the specified parts could not be found.");
    }

    #[test]
    fn the_etag_is_the_digest_of_the_digests_and_their_count() {
        assert_eq!(etag_of(&[]), "d41d8cd98f00b204e9800998ecf8427e-0");
        let both = [stored(1, 10), stored(2, 10)];
        let digests = [md5_of(&[1]), md5_of(&[2])].concat();
        assert_eq!(etag_of(&both), format!("{}-2", to_hex(&md5_of(&digests))));
    }
}
