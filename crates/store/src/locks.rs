//! The keys of all advisory locks, so that none is given twice. "PF" and a number; of those with two keys the second
//! says of what.
//!
//! Those of transactions end with them; those of sessions are held by a connection that is kept
//! ([`crate::session::Connection::keep`]), and end with it.

/// By tenant, of a transaction: imports share it, creating a run takes it alone, so that no commission slips between
/// two windows.
pub(crate) const CUTOFF_LOCK: i32 = 0x5046_0001;
/// Of a session: one worker sweeps.
pub(crate) const SWEEP_LOCK: i64 = 0x5046_0002;
/// By run, of a session: one verdict at a time.
pub(crate) const RECONCILE_LOCK: i32 = 0x5046_0003;
/// By tenant, of a transaction: whatever makes money due again shares it, creating a run takes it alone, for moments
/// only. So "released before the run was created" has one answer, and it is written down (`transfer.due_in`). Taken
/// after rows.
pub(crate) const RELEASE_LOCK: i32 = 0x5046_0004;
/// By account at a rail, of a session: its statement is read once, and forward.
pub(crate) const ACCOUNT_LOCK: i32 = 0x5046_0005;
/// Of a transaction: pieces of statements share it, those with anything odd take it alone, so that a payment and its
/// double see each other. Taken before rows.
pub(crate) const PIECES_LOCK: i32 = 0x5046_0006;
/// Of a transaction: who is added to or taken from the people, so that the first administrator is one and the last one
/// stays. Of one key, which to Postgres is no lock of two keys, whatever their numbers.
pub(crate) const PEOPLE_LOCK: i64 = 0x5046_0003;
/// By run, of a transaction: intents share it, whoever stops the run takes it alone. The run's row alone is not fair:
/// share locks on a row that overlap let whoever wants it alone wait for as long as there are some (4.4 s for a pause
/// beside 16 workers), and here later ones wait behind a stop. An intent has its batch by then, and who stops a run
/// locks no batch.
pub(crate) const TURN_LOCK: i32 = 0x5046_0007;
