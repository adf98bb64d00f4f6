use std::fmt;
use std::sync::Arc;

use aerostack_bindings::Held;

/// The cells of a result, one row after the other.
///
/// A result has hundreds of short texts. They lie behind each other in one piece of memory, so that none needs an allocation, or a
/// copy to wherever a value of its own would be put together.
#[derive(Clone, Default)]
pub struct Cells {
    places: Vec<Place>,
    text: String,
    bytes: Vec<u8>,
    /// What they count for, where they are worth it.
    held: Option<Arc<Held>>,
}

/// A cell in its [`Cells`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellRef<'a> {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// TEXT; bytes that are not UTF-8 are replaced by U+FFFD.
    Text(&'a str),
    /// BLOB
    Blob(&'a [u8]),
}

/// A cell by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// TEXT
    Text(String),
    /// BLOB
    Blob(Vec<u8>),
}

/// Where a cell is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Null,
    Integer(i64),
    Real(f64),
    Text { end: usize },
    Blob { end: usize },
}

impl Cells {
    /// None yet, with room for so many, and for so many bytes of text.
    pub fn with_capacity(cells: usize, text: usize) -> Self {
        Self { places: Vec::with_capacity(cells), text: String::with_capacity(text), ..Self::default() }
    }

    /// Adds a cell.
    pub fn push(&mut self, cell: CellRef<'_>) {
        let place = match cell {
            CellRef::Null => Place::Null,
            CellRef::Integer(number) => Place::Integer(number),
            CellRef::Real(number) => Place::Real(number),
            CellRef::Text(text) => {
                self.text.push_str(text);
                Place::Text { end: self.text.len() }
            }
            CellRef::Blob(bytes) => {
                self.bytes.extend_from_slice(bytes);
                Place::Blob { end: self.bytes.len() }
            }
        };
        self.places.push(place);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many bytes of memory they take.
    pub fn taken(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.text.capacity() + self.bytes.capacity()
    }

    /// How many bytes they have on their way to JavaScript. A byte of a blob becomes a number there, and counts as the four characters
    /// that it has at most in JSON.
    pub fn weight(&self) -> usize {
        self.places.len() * size_of::<Place>() + self.text.len() + 4 * self.bytes.len()
    }

    /// Has `held` count for as long as the cells are kept.
    pub fn keep(&mut self, held: Held) {
        self.held = Some(Arc::new(held));
    }

    /// All texts, one after the other.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The cells, in order.
    pub fn iter(&self) -> impl Iterator<Item = CellRef<'_>> {
        let (mut text, mut bytes) = (0, 0);
        self.places.iter().map(move |place| match *place {
            Place::Null => CellRef::Null,
            Place::Integer(number) => CellRef::Integer(number),
            Place::Real(number) => CellRef::Real(number),
            Place::Text { end } => CellRef::Text(&self.text[std::mem::replace(&mut text, end)..end]),
            Place::Blob { end } => CellRef::Blob(&self.bytes[std::mem::replace(&mut bytes, end)..end]),
        })
    }

    /// The number, where it is all there is.
    pub fn only_integer(&self) -> Option<i64> {
        match self.places[..] {
            [Place::Integer(number)] => Some(number),
            _ => None,
        }
    }

    /// Each cell by itself.
    pub fn to_vec(&self) -> Vec<Cell> {
        self.iter().map(Cell::from).collect()
    }
}

impl From<CellRef<'_>> for Cell {
    fn from(cell: CellRef<'_>) -> Self {
        match cell {
            CellRef::Null => Self::Null,
            CellRef::Integer(number) => Self::Integer(number),
            CellRef::Real(number) => Self::Real(number),
            CellRef::Text(text) => Self::Text(text.to_owned()),
            CellRef::Blob(bytes) => Self::Blob(bytes.to_owned()),
        }
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Cells {
    fn eq(&self, other: &Self) -> bool {
        self.places == other.places && self.text == other.text && self.bytes == other.bytes
    }
}

impl PartialEq<Vec<Cell>> for Cells {
    fn eq(&self, other: &Vec<Cell>) -> bool {
        self.to_vec() == *other
    }
}

impl<const N: usize> PartialEq<[Cell; N]> for Cells {
    fn eq(&self, other: &[Cell; N]) -> bool {
        self.to_vec() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_as_they_were_put_in() {
        let all = [
            CellRef::Text("a"),
            CellRef::Null,
            CellRef::Blob(&[1, 2]),
            CellRef::Text(""),
            CellRef::Integer(-1),
            CellRef::Text("für"),
            CellRef::Blob(&[]),
            CellRef::Real(0.5),
            CellRef::Blob(&[3]),
            CellRef::Text("z"),
        ];
        let mut cells = Cells::default();
        assert!(cells.is_empty());
        for cell in all {
            cells.push(cell);
        }
        assert_eq!(cells.iter().collect::<Vec<_>>(), all);
        assert_eq!((cells.len(), cells.text(), cells.only_integer()), (10, "afürz", None));
        assert_eq!(format!("{cells:?}"), format!("{all:?}"));
    }
}
