use std::alloc::{Layout, handle_alloc_error};

use memmap2::MmapMut;

use super::distance::Lane;

/// Lanes of zeros, straight from the system: it gives their memory page by page, when they are first written.
#[derive(Debug)]
pub(super) struct Chunk {
    memory: MmapMut,
}

/// The size of the pages a [`Chunk`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// The usual, for what may stay small.
    Small,
    /// The larger kind where the system has them, for what is read again and again, in order or not: at 148 MiB of vectors the
    /// exact search is a third faster with them.
    Huge,
}

impl Chunk {
    /// So many lanes, at least one.
    pub(super) fn zeroed(lanes: usize, pages: Pages) -> Self {
        let layout = Layout::array::<Lane>(lanes).expect("a chunk is no larger than the address space");
        let Ok(memory) = MmapMut::map_anon(layout.size()) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if pages == Pages::Huge
            && let Err(error) = memory.advise(memmap2::Advice::HugePage)
        {
            tracing::debug!(%error, "no huge pages for vectors");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pages;
        Self { memory }
    }
}

impl std::ops::Deref for Chunk {
    type Target = [Lane];

    #[inline]
    fn deref(&self) -> &[Lane] {
        // SAFETY: the mapping begins at a page, holds whole lanes, and every pattern of bits is a lane.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.memory.len() / size_of::<Lane>()) }
    }
}

impl std::ops::DerefMut for Chunk {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Lane] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), self.memory.len() / size_of::<Lane>())
        }
    }
}
