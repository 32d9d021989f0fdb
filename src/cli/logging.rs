//! How diagnostics are written: which lines, in which format, and whether in colour.
//!
//! Diagnostics go to standard error. Access and audit logs have outputs of their own and are not
//! affected. The command line comes before the environment, and the environment before the
//! configuration.

use std::io::{self, IsTerminal};

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::environment;
use crate::settings::LogFormat;
use crate::telemetry::log_format::LogFormatSwitch;

/// What the command line says of the diagnostics; it counts before environment and file.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct LogArgs {
    /// Only warnings and errors.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// More: `-v` for debug, `-vv` for trace.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// The form of the diagnostics, whatever `[log] format` says.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<FormatName>,
    /// Colour in the pretty form; `auto` obeys NO_COLOR and TERM=dumb.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    Auto,
    Json,
    Pretty,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

impl LogArgs {
    /// Writes diagnostics to standard error from now on. The returned switch changes their format.
    /// The error is about a filter that cannot be understood. The switch is used by a reload of the
    /// configuration.
    pub(super) fn subscribe(&self, configured: LogFormat) -> anyhow::Result<LogFormatSwitch> {
        let filter = self.filter()?;
        let (layer, handle) = reload::Layer::new(self.layer(configured));
        // This fails only if there is a subscriber already, for example in a test. That one is then
        // used.
        let _ = tracing_subscriber::registry().with(layer).with(filter).try_init();
        let args = self.clone();
        Ok(LogFormatSwitch::new(move |format| {
            // An error means that the subscriber is gone, and nothing is written any more.
            let _ = handle.reload(args.layer(format));
        }))
    }

    /// The layer that writes lines, in the format that arguments and configuration ask for.
    fn layer(&self, configured: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
        let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        if self.is_pretty(configured) {
            layer.with_ansi(self.is_coloured()).with_target(false).boxed()
        } else {
            layer.json().flatten_event(true).with_span_list(false).boxed()
        }
    }

    fn is_pretty(&self, configured: LogFormat) -> bool {
        match (self.log_format, configured) {
            (Some(FormatName::Pretty), _) | (None, LogFormat::Pretty) => true,
            (Some(FormatName::Json), _) | (None, LogFormat::Json) => false,
            (Some(FormatName::Auto), _) | (None, LogFormat::Auto) => io::stderr().is_terminal(),
        }
    }

    fn is_coloured(&self) -> bool {
        // A variable that is empty counts as unset (see no-color.org).
        let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let is_dumb = environment("TERM").is_some_and(|term| term == "dumb");
                io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
            }
        }
    }

    /// Which lines are written. The command line decides, else `TOLLHOUSE_LOG`, else `RUST_LOG`.
    fn filter(&self) -> anyhow::Result<EnvFilter> {
        match (self.quiet, self.verbose) {
            // The arguments come first, because somebody has typed them for this one run.
            (true, _) => return Ok(EnvFilter::new("warn")),
            (false, 0) => {}
            (false, 1) => return Ok(EnvFilter::new("debug")),
            (false, _) => return Ok(EnvFilter::new("trace")),
        }
        if let Some(text) = environment("TOLLHOUSE_LOG").filter(|text| !text.is_empty()) {
            return parse_filter(&text);
        }
        // `RUST_LOG` is meant for every program in the environment, so a value that is not
        // understood is ignored. `TOLLHOUSE_LOG` is meant for this program alone, so there a
        // mistake is an error.
        let general = EnvFilter::try_from_default_env();
        Ok(general.unwrap_or_else(|_| EnvFilter::new("info")))
    }
}

/// Parses a filter. A mistake in it would hide the lines that somebody is waiting for, so it is an
/// error. The message says which word is wrong, and what would be accepted. A general filter of the
/// system is not checked in this way.
fn parse_filter(text: &str) -> anyhow::Result<EnvFilter> {
    const ACCEPTED: &str = "write error, warn, info, debug, trace or off, or for a part of the \
                            program `tollhouse::upstream=debug,info`";
    for word in text.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ':'])) {
        if word.parse::<LevelFilter>().is_err() && word != "tollhouse" {
            bail!("TOLLHOUSE_LOG: `{word}` is no level: {ACCEPTED}");
        }
    }
    let filter = EnvFilter::builder().parse(text);
    filter.map_err(|_| anyhow!("TOLLHOUSE_LOG: `{text}` cannot be read: {ACCEPTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_or_refused_in_words() {
        for text in ["info", "WARN", "off", "tollhouse::upstream=debug,info", "hyper=trace"] {
            assert!(parse_filter(text).is_ok(), "{text}");
        }
        for text in ["infoo", "foo=bar=baz", "info,lots"] {
            let error = parse_filter(text).unwrap_err().to_string();
            assert!(error.contains("TOLLHOUSE_LOG") && error.contains("warn, info"), "{error}");
        }
    }
}
