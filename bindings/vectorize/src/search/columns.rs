use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::Slots;
use crate::filter::{Filter, Property};

/// So many properties are kept; the one that came first goes.
const MAX_COLUMNS: usize = 16;

/// The properties that filters have asked for, of all slots.
///
/// A column costs four bytes a slot and each different value once, so a filter is evaluated once for each value and then
/// looked up for each slot. A property that nobody filters by costs nothing.
#[derive(Debug, Default)]
pub struct Columns {
    columns: HashMap<String, Column>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Column {
    /// The place in `values` of each slot's value. What is beyond the end is absent.
    codes: Vec<u32>,
    /// The first is [`Property::Absent`].
    values: Vec<Property>,
    places: HashMap<String, u32>,
}

/// The code of a property that is not there.
const ABSENT: u32 = 0;

impl Columns {
    /// The keys of a filter of which there is no column.
    pub fn missing(&self, filter: &Filter) -> Vec<String> {
        let keys = filter.conditions().iter().map(|condition| &condition.key);
        keys.filter(|key| !self.columns.contains_key(*key)).cloned().collect()
    }

    /// Empty columns for these keys; [`Columns::set`] fills them.
    pub fn new(keys: Vec<String>) -> Self {
        let columns = keys.iter().map(|key| (key.clone(), Column::new())).collect();
        Self { columns, order: keys.into() }
    }

    /// Takes over the columns of another, and drops the oldest where there are too many, but none that `needed` names.
    pub fn adopt(&mut self, other: Self, needed: &Filter) {
        for (key, column) in other.columns {
            if self.columns.insert(key.clone(), column).is_none() {
                self.order.push_back(key);
            }
        }
        let is_needed = |key: &String| needed.conditions().iter().any(|condition| condition.key == *key);
        while self.order.len() > MAX_COLUMNS
            && let Some(oldest) = self.order.iter().position(|key| !is_needed(key))
        {
            if let Some(key) = self.order.remove(oldest) {
                self.columns.remove(&key);
            }
        }
    }

    /// Whether there is no column, and so no need to set anything.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Takes over the metadata of a slot.
    pub fn set(&mut self, slot: u32, metadata: Option<&Value>) {
        for (key, column) in &mut self.columns {
            column.set(slot, Property::of(metadata, key));
        }
    }

    /// Keeps those of the slots that a filter admits. There is a column for each of its keys.
    pub fn retain(&self, filter: &Filter, slots: &mut Slots) {
        for condition in filter.conditions() {
            let column = &self.columns[&condition.key];
            let admitted: Vec<bool> = column.values.iter().map(|value| condition.admits(value)).collect();
            slots.retain(|slot| admitted[column.codes.get(slot as usize).map_or(ABSENT, |code| *code) as usize]);
        }
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        let each = |column: &Column| {
            let names: usize = column.places.keys().map(|name| 2 * name.capacity()).sum();
            column.codes.capacity() * size_of::<u32>() + names + column.values.len() * (size_of::<Property>() + 48)
        };
        self.columns.values().map(each).sum()
    }

    /// Drops columns that remember mostly values that no slot has any more.
    pub fn tidy(&mut self, slots: usize) {
        self.columns.retain(|_, column| column.values.len() <= 2 * slots + 1024);
        self.order.retain(|key| self.columns.contains_key(key));
    }
}

impl Column {
    fn new() -> Self {
        Self { codes: Vec::new(), values: vec![Property::Absent], places: HashMap::new() }
    }

    fn set(&mut self, slot: u32, property: Property) {
        let code = self.code(property);
        let slot = slot as usize;
        if slot >= self.codes.len() {
            if code == ABSENT {
                return;
            }
            self.codes.resize(slot + 1, ABSENT);
        }
        self.codes[slot] = code;
    }

    fn code(&mut self, property: Property) -> u32 {
        if property == Property::Absent {
            return ABSENT;
        }
        // The debug text tells types, and so `1` from `"1"`.
        let name = format!("{property:?}");
        if let Some(code) = self.places.get(&name) {
            return *code;
        }
        let code = self.values.len() as u32;
        self.values.push(property);
        self.places.insert(name, code);
        code
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_admit_what_the_filter_admits() {
        let metadata: Vec<Option<Value>> = (0..200)
            .map(|slot| match slot % 5 {
                0 => None,
                1 => Some(json!({ "k": slot % 7 })),
                2 => Some(json!({ "k": (slot % 7).to_string(), "n": { "m": slot } })),
                3 => Some(json!({ "k": [slot % 7, "x"] })),
                _ => Some(json!({ "other": true })),
            })
            .collect();
        let all: Slots = (0..200).collect();
        let mut columns = Columns::default();
        for text in [
            "{\"k\":3}",
            "{\"k\":{\"$ne\":\"3\"}}",
            "{\"k\":{\"$in\":[1,\"x\"]},\"n.m\":{\"$ne\":5}}",
            "{\"n.m\":{\"$gte\":20,\"$lt\":100}}",
            "{\"k\":null}",
        ] {
            let filter = Filter::parse(text).expect("a valid filter");
            columns.adopt(Columns::new(columns.missing(&filter)), &filter);
            for (slot, metadata) in metadata.iter().enumerate() {
                columns.set(slot as u32, metadata.as_ref());
            }
            let mut found = all.clone();
            columns.retain(&filter, &mut found);
            let expected: Slots = all.iter().filter(|slot| filter.admits(metadata[*slot as usize].as_ref())).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "{text}");
            assert!(expected.count() > 0 && expected.count() < 200, "{text} selects something");
        }
    }

    #[test]
    fn a_slot_can_change_and_lose_its_value() {
        let filter = Filter::parse("{\"k\":1}").expect("a valid filter");
        let mut columns = Columns::default();
        columns.adopt(Columns::new(columns.missing(&filter)), &filter);
        assert!(columns.missing(&filter).is_empty());
        let mut admits = |metadata: Option<Value>| {
            columns.set(7, metadata.as_ref());
            let mut slots: Slots = [7].into_iter().collect();
            columns.retain(&filter, &mut slots);
            slots.count() == 1
        };
        assert!(admits(Some(json!({ "k": 1 }))));
        assert!(!admits(Some(json!({ "k": 2 }))));
        assert!(admits(Some(json!({ "k": 1.0 }))));
        assert!(!admits(None));
    }

    #[test]
    fn only_so_many_columns_are_kept() {
        let mut columns = Columns::default();
        for number in 0..MAX_COLUMNS + 3 {
            let needed = Filter::parse(&format!("{{\"k{number}\":1}}")).expect("a valid filter");
            columns.adopt(Columns::new(columns.missing(&needed)), &needed);
        }
        assert_eq!(columns.columns.len(), MAX_COLUMNS);
        assert_eq!(columns.missing(&Filter::parse("{\"k0\":1,\"k18\":1}").expect("a valid filter")), ["k0"]);
        for value in 0..5000 {
            columns.set(0, Some(&json!({ "k18": value })));
        }
        columns.tidy(1);
        assert_eq!(columns.columns.len(), MAX_COLUMNS - 1);
        assert_eq!(columns.order.len(), MAX_COLUMNS - 1);
    }
}
