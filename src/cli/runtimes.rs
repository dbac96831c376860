//! The threads of the process.

use tokio::runtime::{Builder, Handle, Runtime};

use super::logging;
use crate::{config::Config, error::Result};

/// The pools of threads: connections on one, what clients ask on another, the epochs of standing queries on a third, so
/// that none can starve the others.
pub(super) struct Runtimes {
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
    pub fn start(config: &Config) -> Result<Self> {
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
    pub fn run<F: Future<Output = Result<()>>>(self, command: impl FnOnce(Pools) -> F) -> Result<()> {
        let pools = Pools { queries: self.query.handle().clone(), epochs: self.epoch.handle().clone() };
        let result = self.network.block_on(command(pools));
        self.epoch.shutdown_background();
        self.query.shutdown_background();
        self.network.shutdown_background();
        result
    }
}
