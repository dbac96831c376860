//! The runtimes (thread pools) of the process.

use tokio::runtime::{Builder, Handle, Runtime};

use super::logging;
use crate::{config::Config, error::Result};

/// The thread pools: one for connections, one for client statements, one for the epochs of standing queries, so that
/// none can starve the others.
pub(super) struct Runtimes {
    network: Runtime,
    query: Runtime,
    epoch: Runtime,
}

/// The pools that compute.
#[derive(Debug, Clone)]
pub struct Pools {
    pub queries: Handle,
    pub epochs: Handle,
}

impl Runtimes {
    /// Stack size: deeply nested SQL is parsed and planned recursively.
    const STACK_BYTES: usize = 8 << 20;

    /// Also installs the logger: the first step of a command once its configuration is known.
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

    /// Runs a command on the network runtime, and passes it the other pools.
    pub fn run<F: Future<Output = Result<()>>>(self, command: impl FnOnce(Pools) -> F) -> Result<()> {
        let pools = Pools { queries: self.query.handle().clone(), epochs: self.epoch.handle().clone() };
        let result = self.network.block_on(command(pools));
        self.epoch.shutdown_background();
        self.query.shutdown_background();
        self.network.shutdown_background();
        result
    }
}
