//! The command line: `serve`, `run`, `check`, `sql`, `demo`. The only place that installs globals: logger, signals,
//! runtimes.

mod check;
pub mod client;
mod demo;
mod flags;
mod logging;
mod output;
mod run;
mod runtimes;
mod server;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::{
    flags::ServerFlags,
    output::{say, tell},
    runtimes::Runtimes,
};
use crate::{
    config::{Config, Environment},
    error::Result,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_definition_is_consistent_and_subcommands_parse() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["tidemark", "serve", "--listen", "nowhere"]).is_err());
        assert!(Arguments::try_parse_from(["tidemark", "run"]).is_err(), "a pipeline is needed");
        Arguments::try_parse_from(["tidemark", "run", "p.yaml", "--dry-run", "--data-dir", "d"]).unwrap();
        Arguments::try_parse_from(["tidemark", "demo", "--seconds", "5"]).unwrap();
    }

    /// Defaults, then the file, then the pipeline's `server:`, then the flags.
    #[test]
    fn config_layers_flags_override_pipeline_overrides_file() {
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
}
