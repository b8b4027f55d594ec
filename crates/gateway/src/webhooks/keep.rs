//! Commits notices, many at a time: while one commit is under way, what comes meanwhile waits, and shares the next.

use std::sync::Arc;
use std::time::Duration;

use payfleet_notices::About;
use payfleet_store::{NamedPayment, NewNotice, PaymentName, Store, StoreError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::known::KnownAccount;
use super::wake::Waker;

/// Commits under way at once.
const COMMITS: usize = 2;
/// Notices in a commit, at most.
const TOGETHER: usize = 256;
/// How often a commit is tried while Postgres is away, with the wait between them: until whoever waits for it has been
/// told to come again.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_millis(500);

/// What was found when a notice was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is news.
    New,
    /// It was there.
    Before,
}

/// One notice that waits for its commit.
struct Waiting {
    notice: NewNotice,
    about: Option<NamedPayment>,
    told: oneshot::Sender<Kept>,
}

/// Takes notices to be kept.
pub(super) struct Keeper(mpsc::Sender<Waiting>);

/// The payment that a notice of this account names.
pub(super) fn named(account: &KnownAccount, about: About) -> NamedPayment {
    let name = match about {
        About::Payout(payout) => PaymentName::Payout(payout),
        About::Reference(reference) => PaymentName::Reference(reference),
    };
    NamedPayment { rail: account.rail, account: account.name.clone(), name }
}

impl Keeper {
    /// One with room for so many that wait.
    pub(super) fn start(store: Store, waker: Arc<Waker>, room: usize) -> Keeper {
        let (sender, mut waiting) = mpsc::channel(room);
        tokio::spawn(async move {
            let commits = Arc::new(Semaphore::new(COMMITS));
            // First the right to commit, then whatever has come until then. It is never closed.
            while let Ok(permit) = Arc::clone(&commits).acquire_owned().await {
                let mut group = Vec::new();
                if waiting.recv_many(&mut group, TOGETHER).await == 0 {
                    return;
                }
                let (store, waker) = (store.clone(), Arc::clone(&waker));
                tokio::spawn(async move {
                    commit(&store, &waker, group).await;
                    drop(permit);
                });
            }
        });
        Keeper(sender)
    }

    /// Keeps a notice; nothing if it cannot be kept now. What is dropped meanwhile is perhaps kept.
    pub(super) async fn keep(&self, notice: NewNotice, about: Option<NamedPayment>) -> Option<Kept> {
        let (told, heard) = oneshot::channel();
        self.0.send(Waiting { notice, about, told }).await.ok()?;
        heard.await.ok()
    }
}

async fn commit(store: &Store, waker: &Waker, group: Vec<Waiting>) {
    metrics::counter!("payfleet_notices_commits_total").increment(1);
    let (mut notices, mut waiting) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
    for Waiting { notice, about, told } in group {
        notices.push(notice);
        waiting.push((about, told));
    }
    let notices = Arc::new(notices);
    let Some(new) = insist(store, &notices).await else { return };
    for ((about, told), is_new) in waiting.into_iter().zip(new) {
        // Whoever asked may have gone.
        let _ = told.send(if is_new { Kept::New } else { Kept::Before });
        // What is replayed changes nothing.
        about.filter(|_| is_new).into_iter().for_each(|payment| waker.hear(payment));
    }
    waker.begin();
}

async fn insist(store: &Store, notices: &Arc<Vec<NewNotice>>) -> Option<Vec<bool>> {
    for tried in 1..=TRIES {
        match store.notices_keep(Arc::clone(notices)).await {
            Ok(new) => return Some(new),
            Err(error) if error.may_pass() && tried < TRIES => tokio::time::sleep(AGAIN).await,
            Err(error) => {
                report(&error, notices.len());
                break;
            }
        }
    }
    None
}

fn report(error: &StoreError, notices: usize) {
    tracing::warn!(%error, notices, "notices cannot be kept now; their rails are told to send them again");
}
