use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deno_core::url::Url;
use deno_web::{Blob, BlobPart, BlobStore, BlobStoreTrait};
use uuid::Uuid;

/// Bytes of an isolate's blobs. They lie outside of V8, which does not know how large they are.
#[derive(Debug, Default)]
pub struct BlobBytes(AtomicUsize);

impl BlobBytes {
    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

type Part = Arc<dyn BlobPart + Send + Sync>;

/// Counts what it holds. A slice counts for what it shows, although it shares the bytes.
#[derive(Debug)]
pub(crate) struct CountedBlobs {
    blobs: BlobStore,
    bytes: Arc<BlobBytes>,
}

impl CountedBlobs {
    pub(crate) fn counted_in(bytes: Arc<BlobBytes>) -> Arc<dyn BlobStoreTrait> {
        Arc::new(Self { blobs: BlobStore::default(), bytes })
    }
}

impl BlobStoreTrait for CountedBlobs {
    fn insert_part(&self, part: Part) -> Uuid {
        self.bytes.0.fetch_add(part.size(), Ordering::Relaxed);
        self.blobs.insert_part(part)
    }

    fn get_part(&self, id: &Uuid) -> Option<Part> {
        self.blobs.get_part(id)
    }

    fn remove_part(&self, id: &Uuid) -> Option<Part> {
        let removed = self.blobs.remove_part(id);
        if let Some(part) = &removed {
            self.bytes.0.fetch_sub(part.size(), Ordering::Relaxed);
        }
        removed
    }

    fn get_object_url(&self, url: Url) -> Option<Arc<Blob>> {
        self.blobs.get_object_url(url)
    }

    fn insert_object_url(&self, blob: Blob, location: Option<Url>) -> Url {
        self.blobs.insert_object_url(blob, location)
    }

    fn remove_object_url(&self, url: &Url) {
        self.blobs.remove_object_url(url);
    }

    fn clear(&self) {
        self.blobs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use deno_web::InMemoryBlobPart;

    use super::{BlobBytes, CountedBlobs};

    #[test]
    fn parts_count_until_they_are_removed() {
        let bytes = Arc::new(BlobBytes::default());
        let blobs = CountedBlobs::counted_in(bytes.clone());
        let one = blobs.insert_part(Arc::new(InMemoryBlobPart::from(vec![0; 10])));
        let other = blobs.insert_part(Arc::new(InMemoryBlobPart::from(vec![0; 5])));
        assert_eq!(bytes.get(), 15);
        assert!(blobs.remove_part(&one).is_some() && blobs.remove_part(&one).is_none());
        assert_eq!(bytes.get(), 5);
        assert!(blobs.remove_part(&other).is_some());
        assert_eq!(bytes.get(), 0);
    }
}
