use std::time::Duration;

/// How spans are exported, from the standard environment variables
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Where the collector takes traces.
    pub(super) endpoint: http::Uri,
    /// How a request to it is written.
    pub(super) protocol: Protocol,
    /// Headers of every request to it: keys, mostly.
    pub(super) headers: http::HeaderMap,
    /// What the spans are of: `service.name` first.
    pub(super) resource: Vec<(String, String)>,
    /// Longest time that one request to the collector may take.
    pub(super) timeout: Duration,
    /// Longest time that a span waits for others to leave with.
    pub(super) delay: Duration,
    /// Spans that wait at most; more are dropped and counted.
    pub(super) queue: usize,
    /// Spans in one request at most.
    pub(super) batch: usize,
}

/// How spans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `http/protobuf`, the default.
    Protobuf,
    /// `http/json`
    Json,
}

impl Protocol {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// An environment variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct SettingsError {
    variable: &'static str,
    problem: String,
}

impl OtlpSettings {
    /// Reads what `variable` says. `None` where no endpoint is named, or where `OTEL_SDK_DISABLED` or `OTEL_TRACES_EXPORTER` says that
    /// no traces are wanted. `version` is that of the program. A value that is not valid is an error that names its variable;
    /// values of headers are in none, because they are secrets.
    pub fn read(variable: impl Fn(&str) -> Option<String>, version: &str) -> Result<Option<Self>, SettingsError> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        if given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || given("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none")
        {
            return Ok(None);
        }
        let (name, endpoint) = match given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            Some(endpoint) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
            None => match given("OTEL_EXPORTER_OTLP_ENDPOINT") {
                Some(base) => ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", base.trim_end_matches('/'))),
                None => return Ok(None),
            },
        };
        let endpoint = endpoint
            .parse::<http::Uri>()
            .ok()
            .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
            .ok_or_else(|| error(name, format!("is {endpoint:?}, not an http or https address")))?;

        // What is said of traces beats what is said of all signals.
        let of_traces = |suffix: &str| {
            given(&format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"))
                .or_else(|| given(&format!("OTEL_EXPORTER_OTLP_{suffix}")))
        };
        let protocol = match of_traces("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => Protocol::Protobuf,
            Some("http/json") => Protocol::Json,
            Some(other) => {
                let problem = format!("is {other:?}; only http/protobuf and http/json are supported");
                return Err(error("OTEL_EXPORTER_OTLP_PROTOCOL", problem));
            }
        };
        let milliseconds = |name: &'static str, text: Option<String>, default: u64| {
            number(name, text.as_deref(), default).map(Duration::from_millis)
        };
        let timeout = milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", of_traces("TIMEOUT"), 10_000)?;
        let size = |name: &'static str, default: u64| {
            number(name, given(name).as_deref(), default).map(|size| usize::try_from(size).unwrap_or(usize::MAX).max(1))
        };
        let queue = size("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?;
        Ok(Some(Self {
            endpoint,
            protocol,
            headers: headers(&of_traces("HEADERS").unwrap_or_default())?,
            resource: resource(
                given("OTEL_SERVICE_NAME"),
                &given("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
                version,
            )?,
            timeout,
            delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", given("OTEL_BSP_SCHEDULE_DELAY"), 5000)?,
            queue,
            batch: size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.min(queue),
        }))
    }

    /// Where spans go, for the start's lines. Without what may be a secret.
    pub fn shown_endpoint(&self) -> String {
        let host = self.endpoint.host().unwrap_or_default();
        let port = self.endpoint.port_u16().map_or(String::new(), |port| format!(":{port}"));
        format!("{}://{host}{port}{}", self.endpoint.scheme_str().unwrap_or_default(), self.endpoint.path())
    }
}

fn error(variable: &'static str, problem: impl Into<String>) -> SettingsError {
    SettingsError { variable, problem: problem.into() }
}

fn number(variable: &'static str, text: Option<&str>, default: u64) -> Result<u64, SettingsError> {
    match text {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|_| error(variable, format!("is {text:?}, not a whole number"))),
    }
}

/// `key=value,key=value`, as W3C Baggage writes it: values percent-encoded, spaces around either without meaning.
fn pairs(variable: &'static str, text: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), percent_decoded(value.trim())?)).filter(|(key, _)| !key.is_empty())
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(|part| pair(part).ok_or_else(|| error(variable, "is not a list of key=value,key=value"))).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(decoded).ok()
}

fn headers(text: &str) -> Result<http::HeaderMap, SettingsError> {
    const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let mut headers = http::HeaderMap::new();
    for (key, value) in pairs(VARIABLE, text)? {
        let name =
            http::HeaderName::try_from(&key).map_err(|_| error(VARIABLE, format!("names {key:?}, no header")))?;
        let mut value = http::HeaderValue::try_from(&value)
            .map_err(|_| error(VARIABLE, format!("gives {key} a value that no header can have")))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The service's name from its own variable, else from the attributes, else ours.
fn resource(
    service_name: Option<String>,
    attributes: &str,
    version: &str,
) -> Result<Vec<(String, String)>, SettingsError> {
    let mut attributes = pairs("OTEL_RESOURCE_ATTRIBUTES", attributes)?;
    let named = attributes.iter().position(|(key, _)| key == "service.name").map(|place| attributes.remove(place).1);
    let service_name = service_name.or(named).unwrap_or_else(|| "aerostack".to_owned());
    attributes.insert(0, ("service.name".to_owned(), service_name));
    let own =
        [("telemetry.sdk.name", "aerostack"), ("telemetry.sdk.language", "rust"), ("telemetry.sdk.version", version)];
    attributes.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<OtlpSettings>, SettingsError> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        OtlpSettings::read(value, "1.2.3")
    }

    fn settings(variables: &[(&str, &str)]) -> OtlpSettings {
        read(variables).expect("the variables are valid").expect("an endpoint is named")
    }

    #[test]
    fn without_an_endpoint_or_switched_off_nothing_is_exported() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn the_path_of_traces_is_added_to_the_endpoint_of_all_signals_only() {
        for (variables, expected) in [
            ([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")], "http://localhost:4318/v1/traces"),
            ([("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example/otlp/")], "https://c.example/otlp/v1/traces"),
            ([("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c.example/in")], "http://c.example/in"),
        ] {
            assert_eq!(settings(&variables).endpoint.to_string(), expected);
        }
    }

    #[test]
    fn headers_and_attributes_are_percent_decoded_lists() {
        let settings = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-team = one"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=hidden,deployment.environment=a%2Cb"),
            ("OTEL_SERVICE_NAME", "shop"),
        ]);
        assert_eq!(settings.headers["authorization"], "Bearer abc");
        assert_eq!(settings.headers["x-team"], "one");
        let resource: Vec<(&str, &str)> = settings.resource.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(resource[..2], [("service.name", "shop"), ("deployment.environment", "a,b")]);
        assert!(!format!("{settings:?}").contains("abc"), "a key is no debugging aid");
    }

    #[test]
    fn spans_are_protobuf_unless_json_is_asked_for() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let protocol = |name: &'static str, value: &'static str| settings(&[endpoint, (name, value)]).protocol;
        assert_eq!(settings(&[endpoint]).protocol, Protocol::Protobuf);
        assert_eq!(protocol("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), Protocol::Protobuf);
        assert_eq!(protocol("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), Protocol::Json);
        assert_eq!(protocol("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"), Protocol::Json);
    }

    #[test]
    fn a_wrong_value_is_an_error_that_names_its_variable_and_shows_no_secret() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for (name, value, expected) in [
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "localhost:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is \"localhost:4318\"",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\"; only http/protobuf"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon", "OTEL_BSP_SCHEDULE_DELAY is \"soon\", not a whole number"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS is not a list of key=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%zz", "OTEL_EXPORTER_OTLP_HEADERS is not a list of key=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A", "OTEL_EXPORTER_OTLP_HEADERS gives a a value"),
        ] {
            let error = read(&[endpoint, (name, value)]).expect_err("it is wrong").to_string();
            assert!(error.starts_with(expected) && !error.contains("secret"), "{name}={value}: {error}");
        }
    }
}
