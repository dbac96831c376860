//! The connection: made, read, lost and made again, for as long as the source lives.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream, lookup_host},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    lines::{Cutter, LineGroup},
    received::Received,
};
use crate::error::{Error, Result};

/// The pause before the connection is made again, and before what could not be stored is stored again; twice as long
/// each time that nothing came of it.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// A peer that comes back is noticed within so long.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A host that does not even refuse is given up.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What is read at a time.
const READ_BYTES: usize = 64 << 10;
/// What becomes durable together: large enough that a sync is a small part of it.
const GROUP_BYTES: usize = 1 << 20;

/// The state of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LinkState {
    Connecting,
    Connected,
    /// Not connected, for this reason.
    Lost(String),
    /// The journal is full: readers are behind, and nothing more is read.
    Full,
    /// Received lines cannot be stored.
    Stuck(String),
}

/// One source's connection.
#[derive(Debug)]
pub(super) struct Link {
    source: String,
    host: String,
    port: u16,
    line_bytes_max: usize,
    received: Arc<Received>,
    changed: watch::Sender<u64>,
    state: Mutex<LinkState>,
}

impl Link {
    pub fn new(source: &str, host: &str, port: u16, line_bytes_max: usize, received: Arc<Received>) -> Link {
        Link {
            source: source.to_string(),
            host: host.to_string(),
            port,
            line_bytes_max,
            received,
            changed: watch::Sender::new(0),
            state: Mutex::new(LinkState::Connecting),
        }
    }

    /// Who is read, as it was written.
    pub fn peer(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Connects and reads until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut wait = RETRY_MIN;
        loop {
            let lost = match self.connect().await {
                Err(e) => e.to_string(),
                Ok(stream) => {
                    self.enter(LinkState::Connected);
                    let (_, before) = self.received.bounds();
                    let lost = self.receive(stream).await;
                    // A peer that only ever hangs up is not worth more haste than one that is not there.
                    if self.received.bounds().1 > before {
                        wait = RETRY_MIN;
                    }
                    lost
                }
            };
            self.enter(LinkState::Lost(lost));
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let connect = async {
            let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            for address in lookup_host((self.host.as_str(), self.port)).await? {
                match connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(e) => error = e,
                }
            }
            Err(error)
        };
        timeout(CONNECT_MAX, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Receives lines until the connection ends; gives the reason.
    async fn receive(&self, mut stream: TcpStream) -> String {
        let mut cutter = Cutter::new(self.line_bytes_max);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.wait_for_room().await;
            let mut end = self.push_read(stream.read(&mut buffer).await, &buffer, &mut cutter);
            // All bytes available by now are synced together.
            while end.is_none() && cutter.bytes() < GROUP_BYTES {
                match stream.try_read(&mut buffer) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    read => end = self.push_read(read, &buffer, &mut cutter),
                }
            }
            if end.is_some() {
                cutter.hang_up();
            }
            let (_, next) = self.received.bounds();
            if let Some(group) = cutter.take_lines(next) {
                self.store(group).await;
            }
            if let Some(why) = end {
                return why;
            }
        }
    }

    /// Passes bytes to the cutter, or gives the reason of the end.
    fn push_read(&self, read: io::Result<usize>, buffer: &[u8], cutter: &mut Cutter) -> Option<String> {
        match read {
            Ok(0) => return Some("the peer hung up".to_string()),
            Ok(count) => cutter.push(&buffer[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Some(e.to_string()),
        }
        None
    }

    /// Backpressure: while nothing is read, TCP blocks the peer.
    async fn wait_for_room(&self) {
        while !self.received.has_room() {
            self.enter(LinkState::Full);
            self.received.freed().await;
        }
        self.enter(LinkState::Connected);
    }

    /// Stores lines, retrying as long as it takes; the peer is blocked meanwhile.
    async fn store(&self, group: LineGroup) {
        let mut wait = RETRY_MIN;
        while let Err(error) = self.add(group.clone()).await {
            self.enter(LinkState::Stuck(error.to_string()));
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
        self.changed.send_modify(|n| *n += 1);
    }

    async fn add(&self, group: LineGroup) -> Result<()> {
        let received = self.received.clone();
        let added = tokio::task::spawn_blocking(move || received.add(group)).await;
        added.map_err(|e| Error::internal(format!("storing lines: {e}")))?
    }

    /// Sets the state; logs a new one.
    fn enter(&self, state: LinkState) {
        let mut now = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == state {
            return;
        }
        *now = state.clone();
        drop(now);
        match state {
            LinkState::Connecting | LinkState::Connected => tracing::info!(source = self.source, "{self}"),
            LinkState::Lost(_) | LinkState::Full => tracing::warn!(source = self.source, "{self}"),
            LinkState::Stuck(_) => tracing::error!(source = self.source, "{self}"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Link { host, port, .. } = self;
        match state {
            LinkState::Connecting => write!(f, "connecting to {host}:{port}"),
            LinkState::Connected => write!(f, "connected to {host}:{port}"),
            LinkState::Lost(why) => write!(f, "not connected to {host}:{port}: {why}"),
            LinkState::Full => write!(f, "not reading {host}:{port}: max_buffered_bytes wait for their readers"),
            LinkState::Stuck(why) => write!(f, "not reading {host}:{port}: what came cannot be stored: {why}"),
        }
    }
}

/// With keep-alive, so that a peer that vanished without a word is missed.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    socket.connect(address).await
}
