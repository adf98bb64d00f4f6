use std::ffi::OsString;
use std::io::IsTerminal;

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

/// Whether text is coloured, as the environment has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColourChoice {
    /// On every stream.
    Always,
    /// On none.
    Never,
    /// On streams that are terminals.
    #[default]
    Terminals,
}

impl ColourChoice {
    /// `FORCE_COLOR` (0 and false turn colours off) takes precedence over `NO_COLOR` (<https://no-color.org>), as in Node.js, and both
    /// over `TERM=dumb`. Empty variables count as unset.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        match set("FORCE_COLOR") {
            Some(value) if value == "0" || value == "false" => Self::Never,
            Some(_) => Self::Always,
            None if set("NO_COLOR").is_some() || set("TERM").is_some_and(|terminal| terminal == "dumb") => Self::Never,
            None => Self::Terminals,
        }
    }

    /// How text on `stream` is coloured.
    pub fn paint(self, stream: &impl IsTerminal) -> Paint {
        match self {
            Self::Always => Paint::Coloured,
            Self::Terminals if stream.is_terminal() => Paint::Coloured,
            Self::Terminals | Self::Never => Paint::Plain,
        }
    }
}

impl Paint {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_color_comes_before_no_color_and_both_before_the_terminal() {
        let read = |variables: &[(&str, &str)]| {
            ColourChoice::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        for (variables, choice) in [
            (&[][..], ColourChoice::Terminals),
            (&[("NO_COLOR", "")], ColourChoice::Terminals),
            (&[("NO_COLOR", "1")], ColourChoice::Never),
            (&[("TERM", "dumb")], ColourChoice::Never),
            (&[("TERM", "xterm-256color")], ColourChoice::Terminals),
            (&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], ColourChoice::Always),
            (&[("FORCE_COLOR", "true"), ("TERM", "dumb")], ColourChoice::Always),
            (&[("FORCE_COLOR", "0")], ColourChoice::Never),
            (&[("FORCE_COLOR", "false")], ColourChoice::Never),
            (&[("FORCE_COLOR", ""), ("NO_COLOR", "1")], ColourChoice::Never),
        ] {
            assert_eq!(read(variables), choice, "{variables:?}");
        }
    }
}
