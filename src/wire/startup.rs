//! Startup, from an open socket to an open session: encryption is refused, cancel requests are run, parameters are
//! read.

use tokio::net::TcpStream;

use super::{
    backend::{self, Blame},
    connection::Connection,
    door::Door,
    frontend::Opening,
    link::ClientLink,
    sessions::SessionSlot,
    shared::ServerShared,
    starting::StartingSlot,
};
use crate::{
    error::{Error, ErrorKind, Result},
    session::Session,
};
use std::{net::IpAddr, sync::Arc};

/// Maximum of encryption requests; a client sends two at most: GSS, then SSL.
const ENCRYPT_REQUESTS_MAX: usize = 4;

/// Runs the startup of a connection; `None` if it ended without a session (a cancel request, a refusal).
pub(super) async fn open<D: Door>(
    shared: &Arc<ServerShared<D>>,
    socket: TcpStream,
    address: IpAddr,
    place: &StartingSlot,
) -> Option<Connection<D>> {
    let options = &shared.options;
    let mut link = ClientLink::new(socket, shared.shutdown.clone(), options.message_bytes_max);
    let late = || Error::new(ErrorKind::ProtocolViolation, "canceling authentication due to timeout");
    let opened = tokio::select! {
        biased;
        opened = tokio::time::timeout(options.startup_timeout, greet(shared, &mut link, address)) => {
            opened.unwrap_or_else(|_| Err(late()))
        }
        () = place.lost.cancelled() => Err(crowded_out()),
    };
    match opened {
        Ok(Some((session, seat))) => Connection::new(shared.clone(), link, session, seat).ok(),
        Ok(None) => None,
        Err(error) => {
            backend::error(&mut link.out, &error, Blame::Fatal);
            link.farewell().await;
            None
        }
    }
}

/// The error of an evicted connection.
fn crowded_out() -> Error {
    Error::new(ErrorKind::TooManyConnections, "too many connections have not said yet who they are")
        .detail("The one that had waited longest has made room for another.")
        .hint("Send the startup packet at once; or raise sessions.starting_max and sessions.starting_per_address.")
}

async fn greet<D: Door>(
    shared: &Arc<ServerShared<D>>,
    link: &mut ClientLink,
    address: IpAddr,
) -> Result<Option<(Session, SessionSlot)>> {
    for _ in 0..ENCRYPT_REQUESTS_MAX {
        match link.opening().await? {
            None => return Ok(None),
            Some(Opening::Encrypt) => {
                link.out.extend_from_slice(b"N");
                link.flush().await?;
            }
            Some(Opening::Cancel { pid, secret }) => {
                shared.sessions.cancel(pid, secret);
                return Ok(None);
            }
            Some(Opening::Startup { minor, parameters }) => {
                let seat = shared.sessions.enter(address)?;
                let mut session = introduce(&parameters, seat.pid)?;
                session.info.peers = Some(shared.sessions.clone());
                welcome(link, minor, &parameters, &session, &seat)?;
                link.flush().await?;
                return Ok(Some((session, seat)));
            }
        }
    }
    Err(Error::new(ErrorKind::ProtocolViolation, "expected a startup packet"))
}

/// Creates the session from startup parameters. Unknown settings are ignored, as drivers send many.
fn introduce(parameters: &[(String, String)], pid: i32) -> Result<Session> {
    let given = |name: &str| parameters.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str());
    let user = given("user").ok_or_else(|| {
        Error::new(ErrorKind::InvalidAuthorization, "no PostgreSQL user name specified in startup packet")
    })?;
    let session = Session::new(user, given("database").unwrap_or(user), pid);
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                for (name, value) in command_line(value) {
                    session.info.settings.set_initial(&name, &value)?;
                }
            }
            name if name.starts_with("_pq_.") => {}
            _ => match session.info.settings.set_initial(name, value) {
                Err(e) if e.kind() == ErrorKind::UndefinedObject || e.kind() == ErrorKind::ObjectNotInState => {}
                done => done?,
            },
        }
    }
    Ok(session)
}

/// Parses `-c name=value --name=value`, with backslashes before spaces within a value.
fn command_line(options: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut().into_iter().for_each(|w| w.extend(chars.next())),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|w| w.push(c)),
        }
    }
    let pairs = words.iter().filter_map(|word| {
        let word = word.strip_prefix("--").or(word.strip_prefix("-c")).unwrap_or(word);
        let (name, value) = word.split_once('=')?;
        Some((name.replace('-', "_"), value.to_string()))
    });
    pairs.collect()
}

/// Sends the login messages up to the first ReadyForQuery.
fn welcome(
    link: &mut ClientLink,
    minor: u16,
    parameters: &[(String, String)],
    session: &Session,
    seat: &SessionSlot,
) -> Result<()> {
    let out = &mut link.out;
    let extensions: Vec<&str> =
        parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if minor > 0 || !extensions.is_empty() {
        backend::negotiate(out, &extensions);
    }
    backend::authenticated(out)?;
    for (name, value) in session.info.settings.reported() {
        backend::parameter_status(out, name, &value)?;
    }
    backend::key_data(out, seat.pid, seat.secret)?;
    backend::ready(out, session.transaction().state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_options_are_parsed_as_a_command_line() {
        let pairs = command_line("-c search_path=a -cgeqo=off --statement-timeout=5s -c DateStyle=ISO,\\ DMY");
        let pairs: Vec<String> = pairs.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(pairs, ["search_path=a", "geqo=off", "statement_timeout=5s", "DateStyle=ISO, DMY"]);
    }
}
