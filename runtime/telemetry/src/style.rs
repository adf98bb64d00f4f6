/// What a piece of text means; colour follows from it. Everything reads the same without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It worked.
    Good,
    /// It failed.
    Bad,
    /// Worth a look.
    Warning,
    /// A name or a place.
    Name,
    /// Less important than the rest of the line.
    Quiet,
    /// More important than the rest of the line.
    Strong,
}

/// Colours text, or leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// No escape codes.
    Plain,
    /// ANSI colours.
    Coloured,
}

impl Paint {
    /// Colour for a terminal that is one, unless `NO_COLOR` is set (<https://no-color.org>).
    pub fn for_stderr(no_color: bool) -> Self {
        use std::io::IsTerminal as _;
        if !no_color && std::io::stderr().is_terminal() { Self::Coloured } else { Self::Plain }
    }

    /// Whether escape codes are written.
    pub fn is_coloured(self) -> bool {
        self == Self::Coloured
    }

    /// The text in the colour of its role.
    pub fn paint(self, role: Role, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let code = match role {
            Role::Good => "32",
            Role::Bad => "31",
            Role::Warning => "33",
            Role::Name => "36",
            Role::Quiet => "2",
            Role::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
