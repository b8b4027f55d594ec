//! The worker: leases batches, pays them, records what became of them. It cannot plan.
//!
//! The way of a batch is in [`batch`]: lease, intent, submit, record. [`reader`] brings hints to it and acknowledges
//! them afterwards, [`unhinted`] finds work where no hints come; [`leases`] keeps what is held, [`spool`] the answers
//! that are not recorded; [`calls`] is the only place from which a rail is called; [`sweep`] keeps runs going when
//! nothing else does. [`ports`] is what all this needs of the world.

mod answers;
pub mod batch;
mod behind;
pub mod calls;
mod funding;
pub mod leases;
mod options;
mod pace;
pub mod ports;
mod presence;
mod reader;
mod ready;
mod spool;
pub mod sweep;
mod unhinted;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use payfleet_domain::Backoff;
use payfleet_memory::MemoryError;
use payfleet_queue::{Queue, QueueError, WorkerBeat};
use payfleet_rails::{Accounts, RailsConfig, RealRails, Registry, RegistryError};
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::health::{AdminServer, HealthError, Metrics, Readiness};
use payfleet_runtime::secret::SecretError;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_runtime::state::StateError;
use payfleet_store::{Store, StoreError, chain};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::behind::Behind;
use crate::leases::LeaseBook;
pub use crate::options::{Options, RateLimit};
use crate::pace::Paces;
use crate::ports::{Clock, Hints, Moment, SystemClock, SystemOfRecord};
use crate::spool::{InHand, PageNo, Spool};

/// Everything that the steps of the work need.
pub struct Worker {
    pub(crate) record: Arc<dyn SystemOfRecord>,
    pub(crate) hints: Arc<dyn Hints>,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leases: Arc<LeaseBook>,
    pub(crate) paces: Paces,
    pub(crate) calls: Semaphore,
    pub(crate) stops: funding::Stops,
    /// A hint came: something is open, and a sweeper that rests need not rest.
    pub(crate) hinted: Notify,
    /// When the last hint came; the start, before the first.
    pub(crate) last_hint_at: Mutex<Moment>,
    /// Something waits that should have been hinted at, or cannot be.
    pub(crate) work_is_late: Notify,
    /// Why nothing is sent although everything can be reached: the database is behind what was seen of it.
    pub(crate) behind: Behind,
    pub(crate) backoff: Backoff,
    pub(crate) shutdown: Shutdown,
    pub(crate) in_hand: InHand,
    /// Where answers are kept that this process cannot record. None in a simulated world.
    pub(crate) spool: OnceLock<Spool>,
    pub(crate) options: Options,
    /// One name for each process that ever ran: two that share one would take each other's hints for their own.
    pub(crate) name: String,
}

/// A worker and what only its process has: connections to the servers themselves, and what it says of its own state.
struct Process {
    worker: Arc<Worker>,
    store: Store,
    queue: Queue,
    readiness: Readiness,
    heard: ready::Heard,
    lacks: presence::Lacks,
}

impl Worker {
    /// A worker in this world.
    pub fn new(
        name: String,
        options: Options,
        record: Arc<dyn SystemOfRecord>,
        hints: Arc<dyn Hints>,
        registry: Registry,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Worker {
        let now = clock.now();
        let paces = Paces::new(&options.rate_limit, registry.account_rates());
        Worker {
            record,
            hints,
            registry,
            clock,
            leases: Arc::default(),
            paces,
            calls: Semaphore::new(options.calls.into()),
            stops: funding::Stops::default(),
            hinted: Notify::new(),
            last_hint_at: Mutex::new(now),
            work_is_late: Notify::new(),
            behind: Behind::default(),
            backoff: Backoff { first: options.backoff_first, longest: options.backoff_longest },
            shutdown,
            in_hand: InHand::default(),
            spool: OnceLock::new(),
            options,
            name,
        }
    }

    /// Keeps the answers that are not recorded, of all pages or of this one, for whoever looks into the folder next.
    /// Returns whether they are kept.
    pub(crate) fn keep_answers(&self, only: Option<PageNo>) -> bool {
        let Some(spool) = self.spool.get() else { return false };
        match self.in_hand.keep(only, spool) {
            Ok(None) => true,
            Ok(Some((batches, file))) => {
                metrics::counter!("payfleet_answers_kept_total").increment(batches as u64);
                tracing::warn!(
                    batches, file = %file.display(),
                    "answers of rails are not recorded; the next worker with this folder records them"
                );
                true
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "answers of rails are not recorded and could not be kept; what is lost with this process is asked \
                     for again"
                );
                false
            }
        }
    }
}

/// Why a worker did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A URL is missing or cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Postgres.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The rails' configuration.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The admin port.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The folder for what must outlive it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Nothing can be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[from] std::io::Error),
    /// The lease is shorter than the work of renewing it.
    #[error("a lease of {0:?} is too short: give it at least 1s")]
    LeaseTtl(Duration),
}

impl WorkerError {
    /// How the program ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            WorkerError::Secret(_)
            | WorkerError::Registry(_)
            | WorkerError::LeaseTtl(_)
            | WorkerError::Store(StoreError::Url) => ExitCode::Usage,
            WorkerError::Store(StoreError::Broken(_))
            | WorkerError::Memory(MemoryError::Store(StoreError::Broken(_))) => ExitCode::Broken,
            WorkerError::Memory(MemoryError::State(_)) | WorkerError::State(StateError::Nowhere) => ExitCode::Usage,
            WorkerError::Store(_)
            | WorkerError::Memory(_)
            | WorkerError::Queue(_)
            | WorkerError::Health(_)
            | WorkerError::State(_)
            | WorkerError::Signals(_) => ExitCode::Unavailable,
        }
    }
}

/// How long a statement may take on the server. The largest of a worker take a second or two.
const STATEMENT: Duration = Duration::from_secs(60);

/// How long each of the last things may take that a worker does when it has finished or handed back what it had.
const LAST: Duration = Duration::from_secs(1);

/// Runs a worker until it is told to stop.
pub async fn run(options: Options) -> Result<(), WorkerError> {
    if options.lease_ttl < Duration::from_secs(1) {
        return Err(WorkerError::LeaseTtl(options.lease_ttl));
    }
    let shutdown = Shutdown::on_signals()?;
    // What follows the drain takes less.
    shutdown.enforce_within(options.drain + 4 * LAST);
    let readiness = Readiness::new();
    let state = options.state.dir()?;
    let admin = AdminServer::bind(options.admin_listen, readiness.clone(), Metrics::install()?).await?;
    let store = Store::connect_for(options.database.url()?.expose(), options.connections(), STATEMENT).await?;
    store.schema_check().await?;
    let queue = Queue::open(options.redis.url()?.expose(), &options.redis_prefix)?;
    match queue.verify().await {
        Ok(()) => {}
        Err(unfit @ QueueError::Evicts { .. }) => return Err(unfit.into()),
        Err(error) => tracing::warn!(error = chain(&error), "working from Postgres alone, until Redis answers"),
    }
    let store = payfleet_memory::remembering(store, &options.state, Some(queue.clone())).await?;
    store.generation_check("worker").await?;
    let config = RailsConfig {
        sandbox_url: options.sandbox_url.clone(),
        call_timeout: options.call_timeout,
        null_rail: options.null_rail,
    };
    let accounts = Accounts::from_file(options.rail_accounts.as_deref())?;
    let registry = Registry::with_real(&config, &RealRails { accounts: accounts.clone(), live: options.live })?;
    for account in &accounts.accounts {
        // Plans are made where the file is not.
        store.account_limits_say(account.rail(), account.name(), &account.limits().largest_minor).await?;
    }
    if options.live {
        tracing::warn!("--live: what is paid over accounts that say `live = true` is real money");
    }
    if options.null_rail {
        tracing::warn!("--null-rail: whoever is paid over the rail `null` is marked paid and gets nothing");
    }
    let started_at = OffsetDateTime::now_utc();
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "worker".to_owned());
    let worker = Arc::new(Worker::new(
        format!("{host}-{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()),
        options,
        Arc::new(store.clone()),
        Arc::new(queue.clone()),
        registry,
        Arc::new(SystemClock),
        shutdown,
    ));
    let spool = Spool::open(state.clone(), &worker.name);
    let unusable = |source| StateError::Unusable { doing: "write into", path: state, source };
    let _ = worker.spool.set(spool.map_err(unusable)?); // it was not set before
    worker.shutdown.at_last({
        let worker = worker.clone();
        move || {
            worker.keep_answers(None);
        }
    });
    let (heard, lacks) = (ready::Heard::default(), presence::Lacks::default());
    let process = Arc::new(Process { worker: worker.clone(), store, queue, readiness, heard, lacks });
    tracing::info!(worker = worker.name, rails = ?worker.registry.names(), admin = %admin.address(), "started");

    tokio::spawn(async move {
        if let Err(error) = admin.serve().await {
            tracing::error!("{}", chain(&error));
        }
    });
    let renewing = tokio::spawn(leases::renew(worker.clone()));
    let watching = tokio::spawn(leases::watch_stops(worker.clone()));
    let sweeping = tokio::spawn(sweep::sweep(process.clone()));
    let beating = tokio::spawn(beat(process.clone(), started_at));
    let asking = tokio::spawn(ready::keep(process.clone()));
    let saying = tokio::spawn(presence::keep(process.clone(), started_at));
    let taking_over = tokio::spawn(spool::take_over(process.clone()));

    // Ends when the shutdown was requested and everything in flight is finished or handed back, or the time for it is
    // over.
    reader::read(process.clone()).await;

    renewing.abort(); // between two renewals, or in one whose task goes on by itself (see `Store`)
    watching.abort(); // nothing is sent any more
    beating.abort();
    saying.abort();
    taking_over.abort(); // the files stay until all of them is recorded
    worker.keep_answers(None);
    // Nothing of what follows is worth a longer wait.
    match timeout(LAST, sweeping).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!("the sweeper ended abnormally"),
        Err(_) => tracing::warn!("the sweeper still waits for an answer; its lock ends with this process"),
    }
    let rails = worker.registry.names();
    let (retired, left) = tokio::join!(
        timeout(LAST, process.queue.retire(&rails, &worker.name)),
        timeout(LAST, process.store.worker_leave(&worker.name)),
    );
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("Postgres lists this worker for a while yet");
    }
    match retired {
        Ok(Ok(stayed)) if stayed.is_empty() => {}
        Ok(Ok(stayed)) => tracing::info!(rails = ?stayed, "left hints behind for others"),
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "could not sign off from Redis; nothing depends on it"),
        Err(_) => tracing::warn!("Redis does not answer; did not sign off from it, and nothing depends on it"),
    }
    asking.abort();
    if timeout(LAST, process.store.close()).await.is_err() {
        tracing::warn!("Postgres still owes an answer; its connections end with this process");
    }
    worker.keep_answers(None); // what came meanwhile
    tracing::info!(worker = worker.name, "stopped");
    Ok(())
}

/// Says now and then that this worker lives, for the status screen. Nothing depends on it.
async fn beat(process: Arc<Process>, started_at: OffsetDateTime) {
    let worker = &process.worker;
    const EVERY: Duration = Duration::from_secs(2);
    /// Beats from one count of the workers to the next.
    const COUNTED: u64 = 2;
    for beats in 0_u64.. {
        let beat = WorkerBeat {
            worker: worker.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            batches_in_flight: u32::try_from(worker.leases.len()).unwrap_or(u32::MAX),
            draining: worker.shutdown.is_requested(),
        };
        if let Err(error) = process.queue.heartbeat(&beat, EVERY * 3).await {
            tracing::debug!(error = chain(&error), "no heartbeat");
        }
        // For when Redis is away and each keeps to its share of a rate; and of what Postgres has for all.
        if beats % COUNTED == 0
            && let Ok(workers) = process.queue.workers().await
        {
            let workers = u32::try_from(workers.len()).unwrap_or(u32::MAX);
            worker.paces.shared_by(workers);
            process.store.connections_share(workers);
        }
        tokio::time::sleep(EVERY).await;
    }
}
