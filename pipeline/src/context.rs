//! What every stage may use: budget, temporary files, threads, cancellation.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::budget::Budget;
use crate::footprint::activity::Meter;
use crate::spill::SpillDir;
use crate::{Error, Result};

/// Resources of one run. Nothing in here may change what the run writes.
#[derive(Debug)]
pub struct Context {
    /// Memory that stages may hold.
    pub budget: Budget,
    /// Where they spill.
    pub spill: SpillDir,
    /// Threads for row-local work.
    pub pool: rayon::ThreadPool,
    /// Threads that wait for object stores.
    pub runtime: tokio::runtime::Runtime,
    /// Rows in a batch between stages, at most.
    pub batch_rows: usize,
    /// Where models of the hub lie that are named without a folder.
    pub hub_cache: Option<PathBuf>,
    /// Set when the run must stop.
    pub cancel: Cancel,
    /// Attributes CPU time to stages.
    pub meter: Meter,
}

/// Settings of a [`Context`]: what must not change the output.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Worker threads.
    pub n_threads: usize,
    /// Bytes that stages may hold, beside the blocks in flight.
    pub memory_limit_bytes: usize,
    /// Rows in a batch between stages, at most.
    pub batch_rows: usize,
    /// Folder for temporary files; the system's if none.
    pub temp_dir: Option<PathBuf>,
    /// The cache of the Hugging Face hub on this machine, if there is one.
    pub hub_cache: Option<PathBuf>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { n_threads: 2, memory_limit_bytes: 1 << 30, batch_rows: 8192, temp_dir: None, hub_cache: None }
    }
}

impl Context {
    /// Starts the threads and makes the folder for temporary files.
    pub fn new(resources: &Resources, cancel: Cancel) -> Result<Self> {
        let thread_error =
            |what: &str, cause: &dyn std::fmt::Display| Error::config(format!("could not start {what}: {cause}"));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(resources.n_threads.max(1))
            .thread_name(|index| format!("tamis-worker-{index}"))
            .build()
            .map_err(|error| thread_error("the worker threads", &error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4)
            .thread_name("tamis-io")
            .enable_all()
            .build()
            .map_err(|error| thread_error("the I/O threads", &error))?;
        Ok(Self {
            budget: Budget::new(resources.memory_limit_bytes),
            spill: SpillDir::new(resources.temp_dir.as_deref())?,
            pool,
            runtime,
            batch_rows: resources.batch_rows.max(1),
            hub_cache: resources.hub_cache.clone(),
            cancel,
            meter: Meter::start(),
        })
    }
}

/// A flag that a signal handler sets and every loop looks at.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the run to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `Err(Error::Interrupted)` if the run was asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
