/// The header of a gzip member (RFC 1952, section 2.3.1) as it arrives.
#[derive(Debug)]
pub(super) struct Header {
    flags: u8,
    field: Field,
    /// How many bytes of the field have arrived; of the extra field, how many are still to come.
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Fixed,
    ExtraLength,
    Extra,
    Name,
    Comment,
    Checksum,
    End,
}

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

const FIXED_BYTES: usize = 10;
const FLAGS_AT: usize = 3;
const MAGIC: [u8; FLAGS_AT] = [0x1f, 0x8b, 8];

/// What a byte has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It belongs to the header, which goes on.
    More,
    /// It was the header's last.
    Ended,
    /// No header has it there.
    Invalid,
}

impl Header {
    pub(super) fn new() -> Self {
        Self { flags: 0, field: Field::Fixed, count: 0 }
    }

    /// Whether nothing of it has arrived.
    pub(super) fn is_untouched(&self) -> bool {
        self.field == Field::Fixed && self.count == 0
    }

    /// Takes the next byte.
    pub(super) fn take(&mut self, byte: u8) -> Progress {
        match self.field {
            Field::Fixed => {
                if self.count < FLAGS_AT && byte != MAGIC[self.count] {
                    return Progress::Invalid;
                }
                if self.count == FLAGS_AT {
                    if byte & RESERVED != 0 {
                        return Progress::Invalid;
                    }
                    self.flags = byte;
                }
                self.count += 1;
                if self.count == FIXED_BYTES {
                    self.go_on();
                }
            }
            Field::ExtraLength => {
                // Little-endian; the first byte is kept above the place of the second.
                if self.count == 0 {
                    self.count = usize::from(byte) | 1 << 16;
                } else {
                    self.count = (self.count & 0xff) | usize::from(byte) << 8;
                    self.field = Field::Extra;
                    if self.count == 0 {
                        self.go_on();
                    }
                }
            }
            Field::Extra => {
                self.count -= 1;
                if self.count == 0 {
                    self.go_on();
                }
            }
            Field::Name | Field::Comment => {
                if byte == 0 {
                    self.go_on();
                }
            }
            Field::Checksum => {
                self.count += 1;
                if self.count == 2 {
                    self.go_on();
                }
            }
            Field::End => return Progress::Invalid,
        }
        if self.field == Field::End { Progress::Ended } else { Progress::More }
    }

    /// Goes on to the next field that the header has.
    fn go_on(&mut self) {
        const ORDER: [(Field, u8); 4] = [
            (Field::ExtraLength, HAS_EXTRA),
            (Field::Name, HAS_NAME),
            (Field::Comment, HAS_COMMENT),
            (Field::Checksum, HAS_CHECKSUM),
        ];
        let begin = match self.field {
            Field::Fixed => 0,
            Field::ExtraLength | Field::Extra => 1,
            Field::Name => 2,
            Field::Comment => 3,
            Field::Checksum | Field::End => ORDER.len(),
        };
        let next = ORDER[begin..].iter().find(|(_, flag)| self.flags & flag != 0);
        self.field = next.map_or(Field::End, |(field, _)| *field);
        self.count = 0;
    }
}
