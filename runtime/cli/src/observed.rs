//! How a running server is seen from outside: its log, its metrics, its traces.

use std::sync::Arc;
use std::time::Duration;

use aerostack_telemetry::metrics::Metrics;
use aerostack_telemetry::otlp::{Exporter, OtlpSettings};
use aerostack_telemetry::{LogFormat, Terminal};
use aerostack_trace::Tracer;
use anyhow::bail;

use crate::commands::paints;

/// For the help of the commands that take [`ObservedArguments`].
pub(crate) const ENVIRONMENT: &str = "\
Output:
  Requests, events and the console of workers go to standard output, messages
  of aerostack itself to standard error. With --log-format json all of it goes
  to standard output.

Environment:
  AEROSTACK_LOG                log level of the runtime itself, e.g. warn
                               (default) or debug
  AEROSTACK_LOG_FORMAT         text or json, unless --log-format is given
  FORCE_COLOR, NO_COLOR        turn colours on or off
  OTEL_EXPORTER_OTLP_ENDPOINT  export traces to this collector; other standard
                               OTEL_* variables are honoured too

Monitoring endpoints:
  GET /_aerostack/health, /_aerostack/ready, /_aerostack/metrics";

/// How long the last spans may take to reach their collector.
const LAST_SPANS: Duration = Duration::from_secs(3);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The arguments that say how the log is written.
#[derive(clap::Args)]
pub(crate) struct ObservedArguments {
    /// Log format: text, or json (one object per line) [default: $AEROSTACK_LOG_FORMAT, or text]
    #[arg(long, value_name = "text|json")]
    log_format: Option<LogFormat>,
}

/// Where a process writes what it does.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) terminal: Terminal,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Tracer,
    exporter: Option<Arc<Exporter>>,
}

impl Observed {
    /// Starts the log of the process, and exports spans where the standard variables of OpenTelemetry name a collector. Call once a
    /// process.
    pub(crate) fn start(arguments: &ObservedArguments) -> anyhow::Result<Self> {
        let terminal = Terminal::start(log_format(arguments)?, paints());
        let filter = std::env::var("AEROSTACK_LOG").unwrap_or_else(|_| "warn".to_owned());
        aerostack_telemetry::install_tracing(&terminal, &filter);
        aerostack_telemetry::install_panic_hook(&terminal);
        aerostack_isolate::contain_panics();
        let metrics = Metrics::new(VERSION);
        let exporter = match OtlpSettings::read(|name| std::env::var(name).ok(), VERSION)? {
            Some(settings) => {
                terminal.line(format!("traces go to {}", settings.shown_endpoint()));
                Some(Exporter::start(settings, VERSION, metrics.spans().clone())?)
            }
            None => None,
        };
        let tracer = exporter.clone().map_or_else(Tracer::off, |exporter| Tracer::new(exporter));
        Ok(Self { terminal, metrics, tracer, exporter })
    }

    /// For a command that runs a handler and ends: nobody asks it for metrics, and it exports nothing.
    pub(crate) fn by_nobody(terminal: Terminal) -> Self {
        Self { terminal, metrics: Metrics::new(VERSION), tracer: Tracer::off(), exporter: None }
    }

    /// Lets the last spans and lines out.
    pub(crate) async fn end(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.flush(LAST_SPANS).await;
        }
        self.terminal.flush();
    }
}

/// What the flag says, else the environment.
fn log_format(arguments: &ObservedArguments) -> anyhow::Result<LogFormat> {
    const VARIABLE: &str = "AEROSTACK_LOG_FORMAT";
    if let Some(format) = arguments.log_format {
        return Ok(format);
    }
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse().map_err(|problem| anyhow::anyhow!("{VARIABLE}: {problem}")),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(LogFormat::Text),
        Err(error @ std::env::VarError::NotUnicode(_)) => bail!("{VARIABLE}: {error}"),
    }
}
