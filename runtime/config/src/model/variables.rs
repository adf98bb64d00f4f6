use crate::secret::Secret;
use crate::source::Span;

/// A variable or secret on `env`.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// The name on `env`.
    pub name: String,
    /// Its value; the `Debug` of a secret hides it.
    pub value: VariableValue,
    /// Where the value comes from: `[vars]`, `.dev.vars`, or the `[secrets]` entry of one that the environment holds.
    pub span: Span,
}

/// The value of a [`Variable`].
#[derive(Debug, Clone, PartialEq)]
pub enum VariableValue {
    /// A string of `[vars]` without references.
    Text(String),
    /// A number, boolean, list or table of `[vars]`; on `env` the JavaScript value itself.
    Json(serde_json::Value),
    /// A string from `.dev.vars`, from the environment, or with references to either.
    Secret(Secret),
}

/// A secret that the config says the project needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredSecret {
    /// The name on `env`.
    pub name: String,
    /// What it is and where to get it, from `[secrets] NAME = "help text"`.
    pub help: Option<String>,
    /// Whether a value was found.
    pub presence: SecretPresence,
    /// Where the config names it.
    pub span: Span,
}

/// Whether a [`RequiredSecret`] has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretPresence {
    /// It is on `env`.
    Present,
    /// It is not; a warning says so.
    Absent,
}
