//! Where logs go: stderr, one line an event, filtered by level and room.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, Logging};

/// Installs the process' logger. A second call is without effect.
pub fn install(logging: &Logging) {
    // The configuration was validated; should it differ all the same, more is better than nothing.
    let targets = logging.level.parse::<Targets>().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match logging.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Compact => lines.without_time().compact().boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}
