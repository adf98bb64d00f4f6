/// A set of slots, one bit each.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    words: Vec<u64>,
}

impl Slots {
    /// Adds a slot.
    pub fn insert(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (slot % 64);
    }

    /// Removes a slot, if it is there.
    pub fn remove(&mut self, slot: u32) {
        if let Some(word) = self.words.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    /// Whether a slot is there.
    #[inline]
    pub fn contains(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps only those for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        for (place, word) in self.words.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if !keep(place as u32 * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        Self { words: self.words.iter().zip(theirs).map(|(ours, theirs)| ours & !theirs).collect() }
    }

    /// Those that are in `other` too.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(ours, theirs)| ours & theirs).collect() }
    }

    /// All of them, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.within(0..self.words.len())
    }

    /// Those of a range of words of 64 slots, in ascending order.
    pub(super) fn within(&self, words: std::ops::Range<usize>) -> impl Iterator<Item = u32> + '_ {
        let first = words.start;
        self.words[words].iter().enumerate().flat_map(move |(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros();
                left &= left - 1;
                Some((first + place) as u32 * 64 + bit)
            })
        })
    }

    /// How many words of 64 slots there are.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// How many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

impl FromIterator<u32> for Slots {
    fn from_iter<T: IntoIterator<Item = u32>>(slots: T) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_slots_is_a_sorted_set() {
        let mut set: Slots = [200, 3, 64, 63, 3].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 63, 64, 200]);
        assert_eq!(set.count(), 4);
        set.remove(64);
        set.remove(10_000);
        assert!(set.contains(200) && !set.contains(64) && !set.contains(10_000));
        let other: Slots = [3].into_iter().collect();
        assert_eq!(set.without(&other).iter().collect::<Vec<_>>(), [63, 200]);
        assert_eq!(other.without(&set).count(), 0);
        assert_eq!(set.and(&other).iter().collect::<Vec<_>>(), [3]);
        set.retain(|slot| slot > 3);
        assert_eq!(set.iter().collect::<Vec<_>>(), [63, 200]);
        assert_eq!(set.within(1..4).collect::<Vec<_>>(), [200]);
    }
}
