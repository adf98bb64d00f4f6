//! The numbered failures of Workers AI (contract section 6.2).

use aerostack_bindings::{Error, ErrorKind};

/// The name under which [`Error::context`] carries the number.
const CONTEXT: &str = "inference_code";

/// A failure that Workers AI has a number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InferenceCode {
    /// 1001: inputs that exclude each other.
    InvalidInput,
    /// 3003: something the request needs is missing.
    IncompleteRequest,
    /// 3006: more than the model can read.
    RequestTooLarge,
    /// 3007: no answer in time.
    Timeout,
    /// 3008: the caller went away.
    Aborted,
    /// 3036: an allowance is used up.
    AccountLimited,
    /// 3040: too many requests wait already.
    OutOfCapacity,
    /// 5004: a value of the wrong type or outside its range.
    InvalidData,
    /// 5005: LoRA adapters.
    LoraUnsupported,
    /// 5007: no such model, or its files are not there.
    NoSuchModel,
    /// 5024: the answer is not the JSON that was asked for.
    JsonMode,
}

impl InferenceCode {
    const ALL: [Self; 11] = [
        Self::InvalidInput,
        Self::IncompleteRequest,
        Self::RequestTooLarge,
        Self::Timeout,
        Self::Aborted,
        Self::AccountLimited,
        Self::OutOfCapacity,
        Self::InvalidData,
        Self::LoraUnsupported,
        Self::NoSuchModel,
        Self::JsonMode,
    ];

    /// The number, which the message of the error begins with.
    pub fn number(self) -> u16 {
        match self {
            Self::InvalidInput => 1001,
            Self::IncompleteRequest => 3003,
            Self::RequestTooLarge => 3006,
            Self::Timeout => 3007,
            Self::Aborted => 3008,
            Self::AccountLimited => 3036,
            Self::OutOfCapacity => 3040,
            Self::InvalidData => 5004,
            Self::LoraUnsupported => 5005,
            Self::NoSuchModel => 5007,
            Self::JsonMode => 5024,
        }
    }

    /// The HTTP status of the answer in production, which `env.AI.lastRequestHttpStatusCode` shows.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidInput | Self::IncompleteRequest | Self::InvalidData | Self::NoSuchModel | Self::JsonMode => {
                400
            }
            Self::LoraUnsupported => 405,
            Self::Timeout | Self::Aborted => 408,
            Self::RequestTooLarge => 413,
            Self::AccountLimited | Self::OutOfCapacity => 429,
        }
    }

    /// What `error.name` is in JavaScript.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInput | Self::InvalidData => "InvalidInput",
            Self::IncompleteRequest => "IncompleteRequest",
            Self::RequestTooLarge => "RequestTooLarge",
            Self::Timeout => "Timeout",
            Self::Aborted => "Aborted",
            Self::AccountLimited => "AccountLimited",
            Self::OutOfCapacity => "OutOfCapacity",
            Self::LoraUnsupported => "LoraUnsupported",
            Self::NoSuchModel => "NoSuchModel",
            Self::JsonMode => "JsonModeError",
        }
    }

    /// The error with this number: its message is `<number>: <description>`.
    pub fn error(self, description: impl AsRef<str>) -> Error {
        Error::new(self.kind(), format!("{}: {}", self.number(), description.as_ref()))
            .with_context(CONTEXT, self.number().to_string())
    }

    /// The number of an error, where it has one.
    pub fn of(error: &Error) -> Option<Self> {
        let (_, number) = error.context().iter().find(|(name, _)| *name == CONTEXT)?;
        let number: u16 = number.parse().ok()?;
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// `5007: No such model <model> or task`
    pub fn no_such_model(model: &str) -> Error {
        Self::NoSuchModel.error(format!("No such model {model} or task"))
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::InvalidInput | Self::IncompleteRequest | Self::RequestTooLarge | Self::InvalidData => {
                ErrorKind::InvalidInput
            }
            Self::Timeout | Self::Aborted => ErrorKind::Timeout,
            Self::AccountLimited | Self::OutOfCapacity => ErrorKind::RateLimited,
            Self::LoraUnsupported => ErrorKind::Unsupported,
            Self::NoSuchModel => ErrorKind::NotFound,
            Self::JsonMode => ErrorKind::ConditionFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again_in_its_error() {
        for code in InferenceCode::ALL {
            let error = code.error("Something");
            assert_eq!(error.message(), format!("{}: Something", code.number()));
            assert_eq!(InferenceCode::of(&error), Some(code));
        }
        assert_eq!(InferenceCode::of(&Error::new(ErrorKind::Unexpected, "1001: not ours")), None);
    }

    #[test]
    fn an_unknown_model_is_said_in_the_words_of_the_contract() {
        let error = InferenceCode::no_such_model("@cf/none");
        assert_eq!(error.to_string(), "5007: No such model @cf/none or task");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
