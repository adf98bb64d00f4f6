/// Values of one field, each below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Set(u64);

/// Consecutive values of a [`Set`]; `last < first` where they wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u8,
    pub(crate) last: u8,
}

impl Set {
    pub(crate) fn insert(&mut self, value: u8) {
        self.0 |= 1 << value;
    }

    pub(crate) fn contains(self, value: u8) -> bool {
        self.0 & (1 << value) != 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The values from small to large.
    pub(crate) fn values(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |value| self.contains(*value))
    }

    /// The values as runs; one over the end of `min..=max` and its start is one run. All values are the run `min..=max`.
    pub(crate) fn runs(self, min: u8, max: u8) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for value in self.values() {
            match runs.last_mut() {
                Some(run) if run.last + 1 == value => run.last = value,
                _ => runs.push(Run { first: value, last: value }),
            }
        }
        if let [first, .., last] = runs.as_slice()
            && first.first == min
            && last.last == max
        {
            let wrapped = Run { first: last.first, last: first.last };
            runs.pop();
            runs.remove(0);
            runs.push(wrapped);
        }
        runs
    }

    /// `n` where the values are `min`, `min + n`, `min + 2n` ... up to `max`, at least three of them.
    pub(crate) fn step(self, min: u8, max: u8) -> Option<u8> {
        let values: Vec<u8> = self.values().collect();
        let [first, second, .., last] = values.as_slice() else { return None };
        let step = second - first;
        let even = values.windows(2).all(|pair| pair[1] - pair[0] == step);
        (values.len() > 2 && *first == min && even && last + step > max).then_some(step)
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<T: IntoIterator<Item = u8>>(values: T) -> Self {
        let mut set = Self::default();
        values.into_iter().for_each(|value| set.insert(value));
        set
    }
}
