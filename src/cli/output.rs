//! Output for people: lines, errors, and how to connect to a server.

use std::io::Write;

use crate::{config::Environment, error::Error};

/// Prints an error: the message (which begins with `file:line:column` if it has a position), then detail and
/// hint. Values from the environment are redacted.
pub(super) fn tell(error: &Error, environment: &Environment) {
    let mut text = format!("{error}\n");
    for (word, more) in [("detail", error.detail_text()), ("hint", error.hint_text())] {
        if let Some(more) = more {
            text.push_str(&format!("{word}: {more}\n"));
        }
    }
    let _ = std::io::stderr().write_all(environment.redact(&text).as_bytes());
}

/// Prints a line to stdout. A closed pipe is not an error.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// The lines that say how to connect to a server.
pub(super) fn ways_in(address: std::net::SocketAddr) -> [String; 2] {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_string(),
        ip => ip.to_string(),
    };
    let port = address.port();
    [format!("psql -h {host} -p {port} -U tidemark tidemark"), format!("tidemark sql --host {host} --port {port}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_command_for_wildcard_listen_address_uses_localhost() {
        let [psql, _] = ways_in("0.0.0.0:7".parse().unwrap());
        assert_eq!(psql, "psql -h 127.0.0.1 -p 7 -U tidemark tidemark");
    }
}
