//! One way to read JSON: a stack of what is open.

use super::shape::{ANY, Shape, ShapeId, Shapes};

/// Deeper than this no answer nests.
const MAX_DEPTH: usize = 64;

/// So many blanks in a row and no more, so that a model cannot go on with blanks for ever.
const MAX_BLANKS: u8 = 24;

/// One way to read the bytes so far.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    stack: Vec<Frame>,
    blanks: u8,
}

#[derive(Debug, Clone, Copy)]
enum Frame {
    /// A value of this shape is to begin.
    Value(ShapeId),
    /// Inside a text that is fixed: that of a shape, from this byte on.
    Literal(ShapeId, usize),
    /// Inside `true`, `false`, `null`.
    Word(&'static [u8]),
    /// Inside a string; UTF-8 and escapes are followed.
    String(StringState),
    Number {
        state: NumberState,
        integer: bool,
    },
    /// Inside `{`: which properties came.
    Object {
        shape: ShapeId,
        seen: u64,
        state: ObjectState,
    },
    /// Inside a key that is fixed: the property and the next byte of its key.
    Key {
        shape: ShapeId,
        property: usize,
        at: usize,
    },
    /// A colon, then a value of this shape.
    Colon(ShapeId),
    /// Inside `[`.
    Array {
        shape: ShapeId,
        count: usize,
        state: ListState,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringState {
    Text,
    Escape,
    /// So many hexadecimal digits to come.
    Hex(u8),
    /// So many bytes of a character to come, the next one between these.
    Rest {
        left: u8,
        least: u8,
        most: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberState {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObjectState {
    /// After `{`: a key or the end.
    Open,
    /// After `,`: a key.
    Comma,
    /// After a value: `,` or the end.
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListState {
    /// After `[`: a value or the end.
    Open,
    /// After a value: `,` or the end.
    Value,
}

impl Machine {
    /// The ways to read the first byte of an answer.
    pub(super) fn begin(shapes: &Shapes, out: &mut Vec<Self>) {
        Self { stack: vec![Frame::Value(shapes.root)], blanks: MAX_BLANKS }.expand(shapes, out);
    }

    /// Whether a whole value has been read.
    pub(super) fn may_end(&self) -> bool {
        match self.stack[..] {
            [] => true,
            [Frame::Number { state, .. }] => state.is_whole(),
            _ => false,
        }
    }

    /// Whether nothing can follow.
    pub(super) fn is_over(&self) -> bool {
        self.stack.is_empty()
    }

    /// Reads a byte; puts the ways to go on into `out`, none where it cannot come here.
    pub(super) fn take(mut self, byte: u8, shapes: &Shapes, out: &mut Vec<Self>) {
        let Some(frame) = self.stack.last().copied() else { return };
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') && frame.may_be_blank() {
            self.blanks += 1;
            if self.blanks <= MAX_BLANKS {
                out.push(self);
            }
            return;
        }
        self.blanks = 0;
        let top = self.stack.len() - 1;
        match frame {
            Frame::Value(shape) => self.begin_value(shape, byte, shapes, out),
            Frame::Literal(shape, at) => {
                let Shape::Literal(text) = shapes.get(shape) else { return };
                if text.get(at) != Some(&byte) {
                    return;
                }
                if at + 1 == text.len() {
                    self.close(out);
                } else {
                    self.stack[top] = Frame::Literal(shape, at + 1);
                    out.push(self);
                }
            }
            Frame::Word(rest) => match rest {
                [next, rest @ ..] if *next == byte => {
                    if rest.is_empty() {
                        self.close(out);
                    } else {
                        self.stack[top] = Frame::Word(rest);
                        out.push(self);
                    }
                }
                _ => {}
            },
            Frame::String(StringState::Text) if byte == b'"' => self.close(out),
            Frame::String(state) => {
                if let Some(state) = state.next(byte) {
                    self.stack[top] = Frame::String(state);
                    out.push(self);
                }
            }
            Frame::Number { state, integer } => match state.next(byte, integer) {
                Some(state) => {
                    self.stack[top] = Frame::Number { state, integer };
                    out.push(self);
                }
                // Nothing but what follows it ends a number.
                None if state.is_whole() => {
                    let mut after = Vec::new();
                    self.close(&mut after);
                    for machine in after {
                        machine.take(byte, shapes, out);
                    }
                }
                None => {}
            },
            Frame::Object { shape, seen, state } => self.in_object((shape, seen, state), byte, shapes, out),
            Frame::Key { shape, property, at } => {
                let Shape::Object(object) = shapes.get(shape) else { return };
                let (key, value) = &object.properties[property];
                if key.get(at) != Some(&byte) {
                    return;
                }
                self.stack[top] =
                    if at + 1 == key.len() { Frame::Colon(*value) } else { Frame::Key { shape, property, at: at + 1 } };
                out.push(self);
            }
            Frame::Colon(shape) => {
                if byte == b':' {
                    self.stack[top] = Frame::Value(shape);
                    out.push(self);
                }
            }
            Frame::Array { shape, count, state } => self.in_array((shape, count, state), byte, shapes, out),
        }
    }

    /// Puts one machine for each choice at the top of the stack into `out`.
    fn expand(self, shapes: &Shapes, out: &mut Vec<Self>) {
        let mut pending = vec![(self, 0)];
        while let Some((machine, depth)) = pending.pop() {
            match machine.stack.last() {
                Some(Frame::Value(shape)) => match shapes.get(*shape) {
                    // A schema that refers to nothing but itself has no end.
                    Shape::OneOf(choices) if depth < MAX_DEPTH => {
                        for choice in choices {
                            let mut chosen = machine.clone();
                            chosen.stack.pop();
                            chosen.stack.push(Frame::Value(*choice));
                            pending.push((chosen, depth + 1));
                        }
                    }
                    Shape::OneOf(_) => {}
                    _ => out.push(machine),
                },
                _ => out.push(machine),
            }
        }
    }

    fn begin_value(mut self, shape: ShapeId, byte: u8, shapes: &Shapes, out: &mut Vec<Self>) {
        let top = self.stack.len() - 1;
        let frame = match (shapes.get(shape), byte) {
            (Shape::OneOf(_), _) => {
                let mut choices = Vec::new();
                self.expand(shapes, &mut choices);
                for choice in choices {
                    choice.take(byte, shapes, out);
                }
                return;
            }
            (Shape::Literal(_), _) => {
                self.stack[top] = Frame::Literal(shape, 0);
                return self.take(byte, shapes, out);
            }
            (Shape::Any | Shape::String, b'"') => Frame::String(StringState::Text),
            (Shape::Any | Shape::Number | Shape::Integer, b'-' | b'0'..=b'9') => {
                let state = match byte {
                    b'-' => NumberState::Minus,
                    b'0' => NumberState::Zero,
                    _ => NumberState::Digits,
                };
                Frame::Number { state, integer: matches!(shapes.get(shape), Shape::Integer) }
            }
            (Shape::Any, b't') => Frame::Word(b"rue"),
            (Shape::Any, b'f') => Frame::Word(b"alse"),
            (Shape::Any, b'n') => Frame::Word(b"ull"),
            (Shape::Any | Shape::Object(_), b'{') => Frame::Object { shape, seen: 0, state: ObjectState::Open },
            (Shape::Any | Shape::Array { .. }, b'[') => Frame::Array { shape, count: 0, state: ListState::Open },
            _ => return,
        };
        if self.stack.len() <= MAX_DEPTH {
            self.stack[top] = frame;
            out.push(self);
        }
    }

    fn in_object(
        mut self,
        (shape, seen, state): (ShapeId, u64, ObjectState),
        byte: u8,
        shapes: &Shapes,
        out: &mut Vec<Self>,
    ) {
        let top = self.stack.len() - 1;
        let object = match shapes.get(shape) {
            Shape::Object(object) => Some(object),
            _ => None,
        };
        let complete = object.is_none_or(|object| object.required & !seen == 0);
        match byte {
            b'}' if state != ObjectState::Comma && complete => self.close(out),
            b',' if state == ObjectState::Value => {
                let full = object.is_some_and(|object| {
                    object.others.is_none() && seen.count_ones() as usize == object.properties.len()
                });
                if !full {
                    self.stack[top] = Frame::Object { shape, seen, state: ObjectState::Comma };
                    out.push(self);
                }
            }
            b'"' if state != ObjectState::Value => {
                let others = object.map_or(Some(ANY), |object| object.others);
                if let Some(value) = others {
                    let mut machine = self.clone();
                    machine.stack[top] = Frame::Object { shape, seen, state: ObjectState::Value };
                    machine.stack.extend([Frame::Colon(value), Frame::String(StringState::Text)]);
                    out.push(machine);
                }
                for property in 0..object.map_or(0, |object| object.properties.len()) {
                    if seen & (1 << property) == 0 {
                        let mut machine = self.clone();
                        let seen = seen | (1 << property);
                        machine.stack[top] = Frame::Object { shape, seen, state: ObjectState::Value };
                        machine.stack.push(Frame::Key { shape, property, at: 1 });
                        out.push(machine);
                    }
                }
            }
            _ => {}
        }
    }

    fn in_array(
        mut self,
        (shape, count, state): (ShapeId, usize, ListState),
        byte: u8,
        shapes: &Shapes,
        out: &mut Vec<Self>,
    ) {
        let top = self.stack.len() - 1;
        let (items, least, most) = match shapes.get(shape) {
            Shape::Array { items, least, most } => (*items, *least, *most),
            _ => (ANY, 0, usize::MAX),
        };
        match (state, byte) {
            (_, b']') if count >= least => self.close(out),
            (ListState::Value, b',') if count < most => {
                self.stack[top] = Frame::Array { shape, count: count + 1, state: ListState::Value };
                self.stack.push(Frame::Value(items));
                self.expand(shapes, out);
            }
            (ListState::Open, _) if most > 0 => {
                self.stack[top] = Frame::Array { shape, count: 1, state: ListState::Value };
                self.stack.push(Frame::Value(items));
                self.take(byte, shapes, out);
            }
            _ => {}
        }
    }

    /// A value is over.
    fn close(mut self, out: &mut Vec<Self>) {
        self.stack.pop();
        out.push(self);
    }
}

impl Frame {
    fn may_be_blank(self) -> bool {
        match self {
            Self::Value(_) | Self::Object { .. } | Self::Colon(_) | Self::Array { .. } => true,
            Self::Literal(_, at) => at == 0,
            // What ends a number may be a blank, and that is up to what the number stands in.
            Self::Number { .. } | Self::Word(_) | Self::String(_) | Self::Key { .. } => false,
        }
    }
}

impl StringState {
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Text, b'\\') => Some(Self::Escape),
            (Self::Text, 0x20..=0x7f) | (Self::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Some(Self::Text)
            }
            (Self::Text, 0xc2..=0xdf) => Some(Self::Rest { left: 1, least: 0x80, most: 0xbf }),
            (Self::Text, 0xe0) => Some(Self::Rest { left: 2, least: 0xa0, most: 0xbf }),
            (Self::Text, 0xed) => Some(Self::Rest { left: 2, least: 0x80, most: 0x9f }),
            (Self::Text, 0xe1..=0xef) => Some(Self::Rest { left: 2, least: 0x80, most: 0xbf }),
            (Self::Text, 0xf0) => Some(Self::Rest { left: 3, least: 0x90, most: 0xbf }),
            (Self::Text, 0xf4) => Some(Self::Rest { left: 3, least: 0x80, most: 0x8f }),
            (Self::Text, 0xf1..=0xf3) => Some(Self::Rest { left: 3, least: 0x80, most: 0xbf }),
            // A character that `\u` names alone must be no surrogate: only those below U+D800 are allowed, which a first digit
            // of 0 to c makes sure of.
            (Self::Escape, b'u') => Some(Self::Hex(4)),
            (Self::Hex(4), b'0'..=b'9' | b'a'..=b'c' | b'A'..=b'C') => Some(Self::Hex(3)),
            (Self::Hex(left @ 1..=3), byte) if byte.is_ascii_hexdigit() => {
                Some(if left == 1 { Self::Text } else { Self::Hex(left - 1) })
            }
            (Self::Rest { left, least, most }, byte) if (least..=most).contains(&byte) => {
                Some(if left == 1 { Self::Text } else { Self::Rest { left: left - 1, least: 0x80, most: 0xbf } })
            }
            _ => None,
        }
    }
}

impl NumberState {
    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Power)
    }

    fn next(self, byte: u8, integer: bool) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Digits, b'0'..=b'9') => Some(Self::Digits),
            (Self::Zero | Self::Digits, b'.') if !integer => Some(Self::Point),
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') if !integer => Some(Self::Exponent),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }
}
