//! Tables of text with aligned columns, for people. Programs ask for `--json`.

/// One cell of a [`render`]ed table.
pub(super) enum Cell {
    /// SQL's NULL, shown as `NULL`.
    Null,
    /// A number; a column of numbers is aligned to the right.
    Number(String),
    /// Text from outside. In quotes and escaped where it would be taken for something else, an empty cell or a NULL.
    Text(String),
    /// Bytes, shown as SQL writes them: `x'00ff'`.
    Bytes(Vec<u8>),
    /// A word that is meant as it stands.
    Word(String),
}

/// The longest cell, in characters; the rest of a longer one is left out, with a `…` in its place.
const LONGEST_CELL: usize = 100;

/// The most bytes of a blob that are shown.
const SHOWN_BYTES: usize = 16;

/// The table, without a line feed at its end. Each row is as wide as the header.
pub(super) fn render(header: &[&str], rows: &[Vec<Cell>]) -> String {
    let header: Vec<String> = header.iter().map(|name| shortened(&without_controls(name))).collect();
    let texts: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
    let columns: Vec<Column> = header
        .iter()
        .enumerate()
        .map(|(index, name)| Column {
            width: texts.iter().map(|row| length(&row[index])).max().unwrap_or(0).max(length(name)),
            side: side_of(rows.iter().map(|row| &row[index])),
        })
        .collect();
    let rule: Vec<String> = columns.iter().map(|column| "-".repeat(column.width)).collect();
    let lines: Vec<String> = [&header, &rule].into_iter().chain(&texts).map(|row| line(&columns, row)).collect();
    lines.join("\n")
}

struct Column {
    width: usize,
    side: Side,
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Number(number) => number.clone(),
            Self::Text(text) if is_misleading(text) => shortened(&format!("{text:?}")),
            Self::Text(text) => shortened(text),
            Self::Word(word) => shortened(&without_controls(word)),
            Self::Bytes(bytes) if bytes.len() <= SHOWN_BYTES => format!("x'{}'", hex(bytes)),
            Self::Bytes(bytes) => format!("x'{}…' ({} bytes)", hex(&bytes[..SHOWN_BYTES]), bytes.len()),
        }
    }
}

/// Numbers line up at their last digit.
fn side_of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Side {
    let mut side = Side::Left;
    for cell in cells {
        match cell {
            Cell::Number(_) => side = Side::Right,
            Cell::Null => {}
            Cell::Text(_) | Cell::Bytes(_) | Cell::Word(_) => return Side::Left,
        }
    }
    side
}

fn line(columns: &[Column], row: &[String]) -> String {
    let mut line = String::new();
    for (index, (column, text)) in columns.iter().zip(row).enumerate() {
        let padding = " ".repeat(column.width - length(text));
        let gap = if index == 0 { "" } else { "  " };
        line.push_str(gap);
        match column.side {
            Side::Left => line.extend([text.as_str(), padding.as_str()]),
            Side::Right => line.extend([padding.as_str(), text.as_str()]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Whether a text, shown bare, would look like something that it is not, or could move the cursor of the terminal.
fn is_misleading(text: &str) -> bool {
    text.is_empty()
        || text == "NULL"
        || text.starts_with('"')
        || text.starts_with("x'")
        || text.trim() != text
        || text.chars().any(char::is_control)
}

fn without_controls(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_CELL) {
        Some(_) => text.chars().take(LONGEST_CELL - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
