//! The command line: `serve`, `run`, `check`, `sql`, `demo`. The only place that installs globals: logger, signals,
//! runtimes.

mod check;
pub mod client;
mod demo;
mod logging;
mod run;
mod server;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    config::{Config, Environment, address, yaml::Document},
    error::{Error, Result},
};

/// A streaming SQL server that speaks the Postgres protocol: psql in, psql out.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version)]
struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Starts the server.
    Serve(ServerFlags),
    /// Starts the server and applies a pipeline: what it declares is created, or replaced where it has changed.
    Run {
        pipeline: PathBuf,
        /// Says what applying it would change, and changes nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// Checks a pipeline, a configuration or an SQL file without running it.
    Check {
        file: PathBuf,
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// A small client, for machines without psql.
    Sql(client::ClientOptions),
    /// Flights land, and a windowed view of them stays up to date before your eyes.
    Demo {
        /// Ends by itself after this many seconds.
        #[arg(long)]
        seconds: Option<u64>,
    },
}

/// Flags win over the configuration file, and over a pipeline's `server:`.
#[derive(Debug, Default, Args)]
struct ServerFlags {
    /// A configuration file; config/tidemark.yaml shows every key.
    #[arg(long, env = "TIDEMARK_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything durable lives.
    #[arg(long, env = "TIDEMARK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// host:port to listen on; port 0 takes any free one.
    #[arg(long, env = "TIDEMARK_LISTEN", value_parser = listen)]
    listen: Option<String>,
    /// Says that it is known: beyond this machine, whoever reaches the address may do everything.
    #[arg(long, env = "TIDEMARK_INSECURE")]
    insecure: bool,
}

fn listen(text: &str) -> Result<String, String> {
    address(text).ok_or_else(|| "takes host:port, such as 127.0.0.1:6543".to_string())
}

impl ServerFlags {
    /// The configuration file over the defaults.
    fn base(&self, environment: &Environment) -> Result<Config> {
        match &self.config {
            Some(path) => Config::load(&Document::read(path)?, environment),
            None => Ok(Config::default()),
        }
    }

    fn win_over(&self, config: &mut Config) {
        if let Some(data_dir) = &self.data_dir {
            config.data_dir = data_dir.clone();
        }
        if let Some(listen) = &self.listen {
            config.listen = listen.clone();
        }
        config.insecure |= self.insecure;
    }
}

/// Runs the command that the arguments name; an error is told on stderr, with its hint, and the exit code is 1.
pub fn main() -> ExitCode {
    let environment = Environment::process();
    match dispatch(Arguments::parse().command, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error, &environment);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: CliCommand, environment: &Environment) -> Result<()> {
    match command {
        CliCommand::Check { file, flags } => {
            let mut config = Config::default();
            config.logging.level = "warn".to_string();
            Runtimes::start(&config)?.run(|pools| async move {
                say(&check::check(&file, &flags, environment, pools.epochs).await?);
                Ok(())
            })
        }
        CliCommand::Serve(flags) => {
            let mut config = flags.base(environment)?;
            flags.win_over(&mut config);
            Runtimes::start(&config)?.run(|pools| server::serve(config, pools))
        }
        CliCommand::Run { pipeline, dry_run, flags } => {
            let (config, pipeline) = run::load(&pipeline, flags.base(environment)?, &flags, environment)?;
            let redact = |text: &str| environment.redact(text);
            let runtimes = Runtimes::start(&config)?;
            match dry_run {
                true => runtimes.run(|pools| run::dry_run(config, pipeline, redact, pools.epochs)),
                false => runtimes.run(|pools| run::run(config, pipeline, redact, pools)),
            }
        }
        CliCommand::Sql(options) => Runtimes::start(&Config::default())?.run(|_| client::run(options)),
        CliCommand::Demo { seconds } => {
            let mut config = Config::default();
            config.logging.level = "warn".to_string();
            Runtimes::start(&config)?.run(|pools| demo::demo(config, seconds, pools))
        }
    }
}

/// The pools of threads: connections on one, what clients ask on another, the epochs of standing queries on a third, so
/// that none can starve the others.
struct Runtimes {
    network: Runtime,
    query: Runtime,
    epoch: Runtime,
}

/// Those of them that compute.
#[derive(Debug, Clone)]
pub struct Pools {
    pub queries: Handle,
    pub epochs: Handle,
}

impl Runtimes {
    /// Deeply nested SQL is parsed and planned by recursion: room for it.
    const STACK_BYTES: usize = 8 << 20;

    /// Also installs the logger: the first thing a command does once its configuration is known.
    fn start(config: &Config) -> Result<Self> {
        logging::install(&config.logging);
        let build = |name: &str, threads: usize| {
            let mut builder = Builder::new_multi_thread();
            if threads > 0 {
                builder.worker_threads(threads);
            }
            builder.thread_name(name).thread_stack_size(Self::STACK_BYTES).enable_all().build()
        };
        let network = build("network", config.threads.network)?;
        let (query, epoch) = (build("query", config.threads.query)?, build("epoch", config.threads.epoch)?);
        Ok(Runtimes { network, query, epoch })
    }

    /// Runs a command on the network threads, and gives it the others.
    fn run<F: Future<Output = Result<()>>>(self, command: impl FnOnce(Pools) -> F) -> Result<()> {
        let pools = Pools { queries: self.query.handle().clone(), epochs: self.epoch.handle().clone() };
        let result = self.network.block_on(command(pools));
        self.epoch.shutdown_background();
        self.query.shutdown_background();
        self.network.shutdown_background();
        result
    }
}

/// An error as a person reads it: the message (which begins with `file:line:column` where there is one), then what
/// else is known. Nothing that came out of the environment is shown.
fn tell(error: &Error, environment: &Environment) {
    let mut text = format!("{error}\n");
    for (word, more) in [("detail", error.detail_text()), ("hint", error.hint_text())] {
        if let Some(more) = more {
            text.push_str(&format!("{word}: {more}\n"));
        }
    }
    let _ = std::io::stderr().write_all(environment.redact(&text).as_bytes());
}

/// A line on stdout. A reader that has gone away is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// The lines that lead a person to a server.
fn ways_in(address: std::net::SocketAddr) -> [String; 2] {
    let host = match address.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_string(),
        ip => ip.to_string(),
    };
    let port = address.port();
    [format!("psql -h {host} -p {port} -U tidemark tidemark"), format!("tidemark sql --host {host} --port {port}")]
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["tidemark", "serve", "--listen", "nowhere"]).is_err());
        assert!(Arguments::try_parse_from(["tidemark", "run"]).is_err(), "a pipeline is needed");
        Arguments::try_parse_from(["tidemark", "run", "p.yaml", "--dry-run", "--data-dir", "d"]).unwrap();
        Arguments::try_parse_from(["tidemark", "demo", "--seconds", "5"]).unwrap();
    }

    /// Defaults, then the file, then the pipeline's `server:`, then the flags.
    #[test]
    fn later_layers_win() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipeline) = (folder.path().join("c.yaml"), folder.path().join("p.yaml"));
        std::fs::write(&file, "listen: file:1\nsessions: {max: 1}\nepoch: {max_rows: 1}\n").unwrap();
        std::fs::write(&pipeline, "server: {listen: 'pipeline:2', sessions: {max: 2}}\n").unwrap();
        let environment = Environment::with(|_| None);
        let flags = ServerFlags {
            config: Some(file),
            data_dir: Some("d".into()),
            listen: Some("flag:3".to_string()),
            insecure: false,
        };
        let (config, _) = run::load(&pipeline, flags.base(&environment).unwrap(), &flags, &environment).unwrap();
        assert_eq!((config.listen.as_str(), config.sessions.max, config.epoch.max_rows), ("flag:3", 2, 1));
        assert_eq!(config.data_dir, PathBuf::from("d"));
        assert_eq!(config.threads, Config::default().threads);
    }

    #[test]
    fn an_address_for_all_is_reached_at_one() {
        let [psql, _] = ways_in("0.0.0.0:7".parse().unwrap());
        assert_eq!(psql, "psql -h 127.0.0.1 -p 7 -U tidemark tidemark");
    }
}
