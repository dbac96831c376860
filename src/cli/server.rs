//! A server: the engine and its socket, from opening the data directory to draining the last client.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, lookup_host},
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    logging,
    output::{say, ways_in},
    runtimes::Pools,
};
use crate::{
    config::{Config, Connectors, Limits, ReadFrom, memory},
    connectors::{Allowed, Fence},
    engine::{Engine, EngineOptions, Env},
    error::{Error, ErrorKind, Result},
    query::Thresholds,
    storage::{DiskStorage, MemoryStorage, OverlayStorage, Storage},
    time::SystemClock,
    wire::{self, WireOptions},
};

/// Timeout of the last epochs and checkpoints: less than the half minute after which the sender of the signal (an init
/// system, a container runtime) usually kills the process.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// A running server. [`Server::drain`] stops it in order; dropping it is like a crash.
pub struct Server {
    pub address: SocketAddr,
    engine: Arc<Engine>,
    stop: CancellationToken,
    serving: JoinHandle<Result<()>>,
}

/// Opens the data directory and resumes its queries. Does not listen yet.
pub async fn open(config: &Config, epochs: Handle) -> Result<Arc<Engine>> {
    let limits = Limits::of(config, memory::available());
    let options = engine_options(config, &limits).await?;
    let storage = Arc::new(DiskStorage::open(&config.data_dir)?);
    let mb = |bytes: u64| format!("{} MB", bytes >> 20);
    let (total, state, query) = (mb(limits.total), mb(limits.state), mb(limits.query));
    info!(total, state, query, sessions = mb(limits.sessions), epochs = mb(limits.epoch), "memory limits");
    Engine::open(env(storage, epochs), options).await
}

fn env(storage: Arc<dyn Storage>, runtime: Handle) -> Env {
    Env { storage, clock: Arc::new(SystemClock), runtime, hidden: logging::hidden() }
}

/// An engine over the data directory's catalog, to try definitions: no query runs, and nothing is changed. Without a
/// directory the catalog is empty.
pub async fn rehearse(config: &Config, epochs: Handle) -> Result<Arc<Engine>> {
    match config.data_dir.exists() {
        true => rehearse_over(Arc::new(DiskStorage::open(&config.data_dir)?), config, epochs).await,
        false => rehearse_alone(config, epochs).await,
    }
}

/// The same with an empty catalog.
pub async fn rehearse_alone(config: &Config, epochs: Handle) -> Result<Arc<Engine>> {
    rehearse_over(Arc::new(MemoryStorage::default()), config, epochs).await
}

async fn rehearse_over(below: Arc<dyn Storage>, config: &Config, epochs: Handle) -> Result<Arc<Engine>> {
    let storage = Arc::new(OverlayStorage::new(below));
    let limits = Limits::of(config, memory::available());
    Engine::rehearse(env(storage, epochs), engine_options(config, &limits).await?).await
}

/// Whether a server listens on loopback addresses only. Fails if it does not, and `insecure` is not set.
async fn is_local(config: &Config) -> Result<bool> {
    let unknown = |e: std::io::Error| Error::from(e).context(format!("cannot listen on {}", config.listen));
    let mut addresses = lookup_host(&config.listen).await.map_err(unknown)?;
    let is_local = addresses.all(|address| address.ip().to_canonical().is_loopback());
    if is_local || config.insecure {
        return Ok(is_local);
    }
    Err(Error::new(ErrorKind::Config, format!("listening on {} needs \"insecure: true\"", config.listen))
        .detail("There are no passwords yet: whoever reaches the address may read, write and drop everything.")
        .hint(
            "Listen on 127.0.0.1, or say in the configuration that this is known (--insecure, TIDEMARK_INSECURE=true).",
        ))
}

/// Which files and variables connectors may access.
fn fence(config: &Config, is_local: bool) -> Fence {
    let Connectors { write, read, environment, .. } = config.connectors.clone();
    Fence::new(Allowed {
        data_dir: Some(config.data_dir.clone()),
        read: match read {
            ReadFrom::Auto if is_local => None,
            ReadFrom::Auto => Some(write.clone()),
            ReadFrom::Anywhere => None,
            ReadFrom::Folders(folders) => Some(folders),
        },
        write: Some(write),
        environment: Some(environment),
    })
}

/// The engine's part of the configuration.
async fn engine_options(config: &Config, limits: &Limits) -> Result<EngineOptions> {
    let is_local = is_local(config).await?;
    Ok(EngineOptions {
        checkpoint_interval: config.checkpoint.interval,
        log_file_bytes: limits.journal_segment,
        record_bytes_max: usize::try_from(config.journal.record_size_bytes).unwrap_or(usize::MAX),
        epoch_rows_max: config.epoch.max_rows,
        epoch_bytes_max: limits.epoch_input,
        epoch_target: config.epoch.target,
        dead_letters_max: usize::try_from(config.dead_letters.max_rows).unwrap_or(usize::MAX),
        dead_letters_bytes_max: limits.dead_letters,
        dead_letters_epoch_max: usize::try_from(config.dead_letters.epoch_max_rows).unwrap_or(usize::MAX),
        dead_letters_epoch_bytes_max: config.dead_letters.epoch_max_bytes,
        late_rows_bytes_max: limits.late_rows,
        late_rows_max: usize::try_from(config.late_rows.max_rows).unwrap_or(usize::MAX),
        partitions: config.threads.query,
        aside_max: config.threads.aside,
        memory_bytes_max: limits.query,
        value_bytes_max: limits.value,
        epoch_memory_bytes_max: limits.epoch,
        changelog_rows_max: usize::try_from(config.changelog.max_rows).unwrap_or(usize::MAX),
        changelog_bytes_max: limits.changelog,
        changelog_disk_max: config.changelog.max_disk,
        state_bytes_max: limits.state,
        copy_bytes_max: config.query.copy_limit_bytes,
        fence: fence(config, is_local),
        open_timeout: config.connectors.open_timeout,
        write_timeout: config.connectors.write_timeout,
        thresholds: Thresholds::default(),
    })
}

/// The Postgres server's part of the configuration.
fn wire_options(config: &Config, queries: Handle) -> WireOptions {
    let (sessions, limits) = (&config.sessions, Limits::of(config, memory::available()));
    WireOptions {
        workers: queries,
        sessions_max: sessions.max,
        sessions_reserved: sessions.reserved,
        sessions_bytes_max: usize::try_from(limits.sessions).unwrap_or(usize::MAX),
        startup_timeout: sessions.startup_timeout,
        starting_max: sessions.starting_max,
        starting_per_address: sessions.starting_per_address,
        message_bytes_max: usize::try_from(sessions.message_bytes_max).unwrap_or(usize::MAX),
    }
}

impl Server {
    /// Binds the address and serves clients until drained.
    pub async fn listen(config: &Config, engine: Arc<Engine>, queries: Handle) -> Result<Server> {
        let bound = TcpListener::bind(&config.listen).await;
        let listener = bound.map_err(|e| Error::from(e).context(format!("cannot listen on {}", config.listen)))?;
        let address = listener.local_addr()?;
        if !is_local(config).await? {
            warn!(
                %address,
                "insecure: listening beyond this machine without passwords; whoever reaches the address may do everything"
            );
        }
        let stop = CancellationToken::new();
        let served = wire::serve(engine.clone(), listener, wire_options(config, queries), stop.clone());
        Ok(Server { address, engine, stop, serving: tokio::spawn(served) })
    }

    /// Accepts no client and starts no epoch; notifies clients, and commits the last epoch of every query. One that
    /// does not finish in time is replayed at the next start, as after a crash.
    pub async fn drain(self) -> Result<()> {
        self.stop.cancel();
        let served = self.serving.await.map_err(|e| Error::internal(format!("the wire stopped: {e}")))?;
        if tokio::time::timeout(DRAIN_MAX, self.engine.shutdown()).await.is_err() {
            tracing::warn!(
                "not everything came to its end in {} s; the next start goes on with it",
                DRAIN_MAX.as_secs()
            );
        }
        served
    }
}

/// `tidemark serve`: serves until SIGTERM or SIGINT.
pub async fn serve(config: Config, pools: Pools) -> Result<()> {
    let signals = Signals::listen()?;
    let engine = open(&config, pools.epochs).await?;
    until_signalled(Server::listen(&config, engine, pools.queries).await?, signals).await
}

/// Prints how to connect, waits for a signal, drains. A second signal ends the process at once.
pub async fn until_signalled(server: Server, mut signals: Signals) -> Result<()> {
    let [psql, _] = ways_in(server.address);
    info!(address = %server.address, "listening");
    say(&format!("ready: {psql}"));
    signals.next().await;
    info!("draining: no new epoch, the last one is committed; a second signal ends at once");
    tokio::select! {
        drained = server.drain() => drained,
        () = signals.next() => std::process::exit(130),
    }
}

/// SIGTERM, SIGINT and SIGHUP, received from [`Signals::listen`] on: an early one is not lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether SIGHUP (the terminal was closed) ends the process.
    of_a_terminal: bool,
}

impl Signals {
    /// For a server: SIGHUP, which asks servers to reload their configuration, is logged and has no effect.
    pub fn listen() -> Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            of_a_terminal: false,
        })
    }

    /// For an interactive command: it ends with the terminal.
    pub fn of_a_terminal() -> Result<Self> {
        Ok(Signals { of_a_terminal: true, ..Self::listen()? })
    }

    /// Waits for a signal that asks the process to end.
    pub async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    if self.of_a_terminal {
                        return;
                    }
                    info!("SIGHUP ignored: the configuration is read at the start only; restart the server to change it");
                }
            }
        }
    }
}
