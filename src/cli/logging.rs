//! Logging to stderr, one line per event, filtered by level and room, with secrets redacted.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, LazyLock},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{LogFormat, Logging},
    options::SecretRedactor,
};

/// The secrets redacted in all output of this process.
static HIDDEN: LazyLock<Arc<SecretRedactor>> = LazyLock::new(Arc::default);

/// The secrets redacted in the log: code that resolves a secret adds it.
pub fn hidden() -> Arc<SecretRedactor> {
    HIDDEN.clone()
}

/// Installs the process' logger. A second call is without effect.
pub fn install(logging: &Logging) {
    // The configuration was validated; if this fails all the same, log more rather than nothing.
    let targets = logging.level.parse::<Targets>().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let writer = || Masked { hidden: &HIDDEN, out: io::stderr() };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    let lines = match logging.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Compact => lines.without_time().compact().boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}

/// A writer that redacts secrets. The logger writes a whole event at a time.
struct Masked<'a, W> {
    hidden: &'a SecretRedactor,
    out: W,
}

impl<W: Write> Write for Masked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.out.write_all(self.hidden.mask_text(text).as_bytes())?,
            Err(_) => self.out.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_line_secret_is_masked_plain_and_escaped() {
        let hidden = SecretRedactor::default();
        hidden.add(["db-7.internal".to_string(), "pass\"word\n1".to_string()]);
        let mut out = Vec::new();
        let line = format!("WARN not connected peer=db-7.internal:7777 error={:?}\n", "no pass\"word\n1");
        Masked { hidden: &hidden, out: &mut out }.write_all(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "WARN not connected peer=***:7777 error=\"no ***\"\n");
    }
}
