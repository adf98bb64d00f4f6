use std::error::Error as StdError;
use std::fmt;

/// The result of a driver call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the few kinds that a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing asked for does not exist.
    NotFound,
    /// The thing to be made exists already.
    AlreadyExists,
    /// A precondition of the call did not hold.
    ConditionFailed,
    /// The caller's arguments are wrong. JavaScript sees a `TypeError` or the binding's own frame.
    InvalidInput,
    /// This driver cannot do it.
    Unsupported,
    /// Too many calls; trying later helps.
    RateLimited,
    /// The call took longer than its deadline.
    Timeout,
    /// Whoever wanted the outcome gave up.
    Cancelled,
    /// The service behind the binding cannot be reached.
    Unavailable,
    /// The configuration of the binding is wrong.
    ConfigInvalid,
    /// Anything else: a defect, or a failure with no better name.
    Unexpected,
}

/// A failed call of a binding.
///
/// `Display` prints what the *client* may see: one line, without the source. The source is for the log; whoever prints it
/// walks the chain.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    retryable: bool,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with the text the client sees (lower-case, no full stop, unless a contract fixes the wording).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retryable = matches!(kind, ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable);
        Self { kind, retryable, message: message.into(), context: Vec::new(), source: None }
    }

    /// The cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A fact that helps to find the place, for the log: a key, a path, a statement. Never a secret.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.context.push((name, value.into()));
        self
    }

    /// Says ahead of the text where it happened: a path, for example.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Leaves out of the text whatever is in `folders`, which end with a slash, wherever it stands.
    pub(crate) fn naming_paths_from(mut self, folders: &[String]) -> Self {
        for folder in folders {
            self.message = self.message.replace(folder.as_str(), "");
        }
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The text the client sees.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The facts attached with [`Error::with_context`].
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.context
    }

    /// All there is to say, on one line, for the log: the message, the facts in parentheses, then each cause behind a
    /// colon.
    pub fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        if !self.context.is_empty() {
            let facts: Vec<String> = self.context.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            text = format!("{text} ({})", facts.join(", "));
        }
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            // Some libraries repeat the cause in their own message.
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_the_facts_and_every_cause_once_and_the_client_the_message_alone() {
        let system = std::io::Error::other("disk on fire");
        let driver = Error::new(ErrorKind::Unavailable, "the file cannot be read").with_source(system);
        let error =
            Error::new(ErrorKind::Unexpected, "the cache failed").with_context("key", "user:1").with_source(driver);
        assert_eq!(error.with_causes(), "the cache failed (key: user:1): the file cannot be read: disk on fire");
        assert_eq!(error.to_string(), "the cache failed");
        let repeating =
            Error::new(ErrorKind::Unexpected, "cannot open: no room").with_source(std::io::Error::other("no room"));
        assert_eq!(repeating.with_causes(), "cannot open: no room");
    }
}
