use serde::{Deserialize, Serialize};

/// The headers with which an object wants to be served. Members that were not given are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMetadata {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, in milliseconds since the UNIX epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_expiry: Option<i64>,
}

/// Names and values of the user's own, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomMetadata(pub Vec<(String, String)>);

/// How an object is to be kept. It is told back and has no other effect: there is one place where objects are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StorageClass {
    /// `Standard`.
    #[default]
    Standard,
    /// `InfrequentAccess`.
    InfrequentAccess,
}

impl StorageClass {
    /// The name that R2 gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "InfrequentAccess",
        }
    }

    /// The class of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Standard, Self::InfrequentAccess].into_iter().find(|class| class.as_str() == name)
    }
}
