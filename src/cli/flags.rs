//! The flags of a server.

use std::path::PathBuf;

use clap::Args;

use crate::{
    config::{Config, Environment, address, yaml::Document},
    error::Result,
};

/// Flags win over the configuration file, and over a pipeline's `server:`.
#[derive(Debug, Default, Args)]
pub(super) struct ServerFlags {
    /// A configuration file; config/tidemark.yaml shows every key.
    #[arg(long, env = "TIDEMARK_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where everything durable lives.
    #[arg(long, env = "TIDEMARK_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// host:port to listen on; port 0 takes any free one.
    #[arg(long, env = "TIDEMARK_LISTEN", value_parser = listen)]
    pub listen: Option<String>,
    /// Says that it is known: beyond this machine, whoever reaches the address may do everything.
    #[arg(long, env = "TIDEMARK_INSECURE")]
    pub insecure: bool,
}

fn listen(text: &str) -> Result<String, String> {
    address(text).ok_or_else(|| "takes host:port, such as 127.0.0.1:6543".to_string())
}

impl ServerFlags {
    /// The configuration file over the defaults.
    pub fn base(&self, environment: &Environment) -> Result<Config> {
        match &self.config {
            Some(path) => Config::load(&Document::read(path)?, environment),
            None => Ok(Config::default()),
        }
    }

    pub fn win_over(&self, config: &mut Config) {
        if let Some(data_dir) = &self.data_dir {
            config.data_dir = data_dir.clone();
        }
        if let Some(listen) = &self.listen {
            config.listen = listen.clone();
        }
        config.insecure |= self.insecure;
    }
}
