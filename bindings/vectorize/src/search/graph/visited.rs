/// The nodes a search has seen: a bit each, and a list of the words to clear.
#[derive(Debug, Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    /// Whether the node had not been seen yet.
    #[inline]
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let place = slot / 64;
        if place as usize >= self.words.len() {
            self.words.resize((place as usize + 1).next_power_of_two(), 0);
        }
        let word = &mut self.words[place as usize];
        if *word == 0 {
            self.touched.push(place);
        }
        let bit = 1 << (slot % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        for place in self.touched.drain(..) {
            self.words[place as usize] = 0;
        }
    }
}
