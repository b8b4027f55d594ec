//! People who decide about held payouts: too early, when it is time, wrongly, against each other, twice, and who have
//! no say. Some are killed half-way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;

use super::fault::Fault;
use super::world::{Said, World};

/// Heard, or not: no hold any more, or the same person; a server away; too early.
const ANSWERS: [i32; 4] = [0, 64, 69, 75];
/// Of those who have no say.
const NOT_HEARD: [i32; 2] = [64, 69];
/// What was sent has arrived, and what the rail does with it at once is done.
const QUIET: Duration = Duration::from_secs(10);

/// Batches that are given up when the storm is over.
const GIVEN_UP_LAST: usize = 8;

/// The tokens of those who may decide, and of those who may not.
#[derive(Debug)]
pub struct People {
    /// Three.
    pub approvers: Vec<String>,
    powerless: Vec<String>,
}

impl People {
    /// Adds them, on a database that has nobody. The tenant is one that has nothing to be decided.
    pub async fn added(world: &World) -> People {
        let add = async |token: Option<&str>, name: &str, role: &str| {
            let arguments = ["people", "add", name, "--role", role];
            let said = world.say("payfleet-coordinator", token, &arguments, None).await;
            assert_eq!(said.code, Some(0), "{}", said.text);
            // The log is in the same file.
            said.text.lines().find(|line| line.starts_with("payfleet_")).expect("a token").to_owned()
        };
        let root = add(None, "root", "administrator").await;
        let mut people = People { approvers: Vec::new(), powerless: Vec::new() };
        for name in ["ann", "bob", "cid"] {
            people.approvers.push(add(Some(&root), name, "approver").await);
        }
        for (name, role) in [("vic", "viewer"), ("olga", "operator"), ("rex", "approver")] {
            people.powerless.push(add(Some(&root), name, role).await);
        }
        let revoked = world.say("payfleet-coordinator", Some(&root), &["people", "revoke", "rex"], None).await;
        assert_eq!(revoked.code, Some(0), "{}", revoked.text);
        people.powerless.extend([root, format!("payfleet_{:064x}", 0)]);
        world.token.set(people.approvers[0].clone()).expect("people are added once");
        people
    }

    /// Two different ones.
    pub fn two(&self, generator: &mut Pcg64) -> [&str; 2] {
        let first = generator.random_range(0..self.approvers.len());
        let second = (first + generator.random_range(1..self.approvers.len())) % self.approvers.len();
        [&self.approvers[first], &self.approvers[second]]
    }
}

/// A held payout.
#[derive(Debug)]
struct Held {
    payout: i64,
    batch: i64,
    /// A request for it may still be executed.
    alive: bool,
}

/// Until the end of the storm.
pub async fn decide(world: Arc<World>, people: Arc<People>, mut generator: Pcg64, ends: Instant) {
    // Given up, and when: two people say so once the statement has been read again.
    let mut ripe: Vec<(i64, Instant)> = Vec::new();
    // By batch, and by a clock that nobody steps: since when it is known to be held.
    let mut since: HashMap<i64, Instant> = HashMap::new();
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(generator.random_range(100..800))).await;
        let due = ripe.iter().position(|(_, since)| since.elapsed() > Duration::from_secs(4));
        if let Some(due) = due {
            let (payout, _) = ripe.swap_remove(due);
            not_paid(&world, &people, payout, &mut generator).await;
            continue;
        }
        let Some(held) = one_held(&world).await else { continue };
        let is_quiet = since.entry(held.batch).or_insert_with(Instant::now).elapsed() > QUIET;
        match generator.random_range(0..14) {
            0..3 => early(&world, &people, &held, &mut generator).await,
            3..5 => no_say(&world, &people, &held, &mut generator).await,
            5 => contradict(&world, &people, &held, &mut generator).await,
            6..8 => paid(&world, &people, &mut generator).await,
            8 => killed(&world, &people, &held, &mut generator).await,
            13 if !world.deeds.is_wronged(held.payout) => wrongly(&world, &people, &held, &mut generator).await,
            9.. if is_quiet && held.alive => {
                ripe.extend(give_up(&world, &held).await.into_iter().take(3).map(|payout| (payout, Instant::now())));
            }
            _ => {}
        }
    }
}

macro_rules! held_sql {
    () => {
        "SELECT p.id AS payout, b.id AS batch,
                EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.result IS DISTINCT FROM 'not_executed'
                           AND a.may_arrive_until > clock_timestamp() + interval '1 minute') AS alive
           FROM hold h JOIN payout p ON p.id = h.payout_id
           JOIN batch b ON b.run_id = p.run_id AND b.state <> 'split'
                       AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
          WHERE h.resolved_at IS NULL AND p.code NOT IN ('stopped', 'on_hold', 'contested')"
    };
}

impl From<(i64, i64, bool)> for Held {
    fn from((payout, batch, alive): (i64, i64, bool)) -> Held {
        Held { payout, batch, alive }
    }
}

async fn one_held(world: &World) -> Option<Held> {
    let held = sqlx::query_as::<_, (i64, i64, bool)>(concat!(held_sql!(), " ORDER BY random() LIMIT 1"));
    held.fetch_optional(&world.database).await.ok().flatten().map(Held::from)
}

async fn say(world: &World, token: &str, payout: i64, finding: &[&str], lives: Option<Duration>) -> Said {
    let number = payout.to_string();
    let arguments = [&["holds", "decide", &number][..], finding].concat();
    let said = world.say("payfleet-coordinator", Some(token), &arguments, lives).await;
    world.expect(&said, &ANSWERS);
    said
}

/// A request lives, so nobody may say that nothing was paid.
async fn early(world: &World, people: &People, held: &Held, generator: &mut Pcg64) {
    if !held.alive {
        return;
    }
    let said = say(world, people.two(generator)[0], held.payout, &["--not-paid"], None).await;
    world.expect(&said, &[64, 69, 75]);
    if said.code == Some(75) {
        world.table.count(Fault::DecidedEarly);
    }
}

async fn no_say(world: &World, people: &People, held: &Held, generator: &mut Pcg64) {
    let token = &people.powerless[generator.random_range(0..people.powerless.len())];
    let finding: &[&str] = if generator.random_bool(0.5) { &["--not-paid"] } else { &["--paid", "po_of_nobody"] };
    let said = say(world, token, held.payout, finding, None).await;
    world.expect(&said, &NOT_HEARD);
    if said.code == Some(64) {
        world.table.count(Fault::NoSay);
    }
}

/// Neither is heard, and both words are kept.
async fn contradict(world: &World, people: &People, held: &Held, generator: &mut Pcg64) {
    let [one, other] = people.two(generator);
    // Of these two nobody ever says the same again.
    let [first, second] = [(); 2].map(|()| format!("po_{:x}", generator.random::<u64>()));
    for (token, reference) in [(one, first), (other, second)] {
        let said = say(world, token, held.payout, &["--paid", &reference], None).await;
        if said.text.contains("the proposal has ended") {
            world.table.count(Fault::Contradicted);
            return;
        }
    }
}

/// One that was paid: the journal has it, and the statement, which will confirm it, is not read yet. Of many, or there
/// would be none at the moment.
async fn paid(world: &World, people: &People, generator: &mut Pcg64) {
    let all = sqlx::query_as::<_, (i64, i64, bool)>(held_sql!()).fetch_all(&world.database).await.unwrap_or_default();
    let all: HashSet<i64> = all.into_iter().map(|(payout, ..)| payout).collect();
    let of_them = |line: &crate::oracle::Movement| line.event == "paid" && all.contains(&line.payout());
    let Some(line) = world.journal.one(of_them, |lines| generator.random_range(0..lines)) else { return };
    let payout = line.payout();
    let [one, other] = people.two(generator);
    let finding = ["--paid", line.id.as_str()];
    let first = say(world, one, payout, &finding, None).await;
    if first.code == Some(0) && first.text.contains("proposes") {
        let again = say(world, one, payout, &finding, None).await;
        world.expect(&again, &NOT_HEARD);
        if again.code == Some(64) {
            world.table.count(Fault::SamePersonTwice);
        }
    }
    if say(world, other, payout, &finding, None).await.text.contains("counts as paid") {
        world.table.count(Fault::DecidedPaid);
    }
}

/// Two people are wrong. Nobody gets the money, and the run must say so.
async fn wrongly(world: &World, people: &People, held: &Held, generator: &mut Pcg64) {
    world.deeds.wrong(held.payout, "two people called it paid");
    let finding = ["--paid", "po_that_never_was"];
    for token in people.two(generator) {
        if say(world, token, held.payout, &finding, None).await.text.contains("counts as paid") {
            world.table.count(Fault::DecidedWrongly);
        }
    }
}

async fn killed(world: &World, people: &People, held: &Held, generator: &mut Pcg64) {
    let lives = Duration::from_millis(generator.random_range(5..80));
    let token = people.two(generator)[0];
    let reference = format!("po_{:x}", generator.random::<u64>());
    if say(world, token, held.payout, &["--paid", &reference], Some(lives)).await.code.is_none() {
        world.table.count(Fault::DeciderKilled);
    }
}

/// As if the days had gone by after which no request of its batch can be executed: they end now, so the statement has
/// still to be read past this moment. Returns the payouts that are held.
async fn give_up(world: &World, held: &Held) -> Vec<i64> {
    let of_batch =
        "SELECT p.id FROM payout p JOIN batch b ON p.id BETWEEN b.first_payout_id AND b.last_payout_id WHERE b.id = $1";
    let Ok(payouts) = sqlx::query_scalar::<_, i64>(of_batch).bind(held.batch).fetch_all(&world.database).await else {
        return Vec::new();
    };
    world.deeds.give_up(payouts.iter().copied());
    let ends = sqlx::query(
        // When it was opened stays: the fleet knows its last attempts by that, and would take this for a database that
        // lost them.
        "UPDATE attempt SET may_arrive_until = greatest(clock_timestamp(), opened_at + interval '1 millisecond')
          WHERE batch_id = $1 AND may_arrive_until > clock_timestamp()",
    );
    match ends.bind(held.batch).execute(&world.database).await {
        Ok(_) => payouts,
        Err(_) => Vec::new(),
    }
}

/// Nothing can pay it any more, and the statement is silent: its money is due again.
async fn not_paid(world: &World, people: &People, payout: i64, generator: &mut Pcg64) {
    let [one, other] = people.two(generator);
    let first = say(world, one, payout, &["--not-paid"], None).await;
    if first.code == Some(0) && first.text.contains("proposes") && generator.random_bool(0.5) {
        let again = say(world, one, payout, &["--not-paid"], None).await;
        world.expect(&again, &NOT_HEARD);
        if again.code == Some(64) {
            world.table.count(Fault::SamePersonTwice);
        }
    }
    if say(world, other, payout, &["--not-paid"], None).await.text.contains("counts as not paid") {
        world.table.count(Fault::DecidedNotPaid);
    }
}

/// In peace, before the rail does what it was to do in days: two people give up what is held and may still be executed,
/// so that the next run pays it.
pub async fn last_given_up(world: &World, people: &People, generator: &mut Pcg64) {
    // The newest, which were sent while the rail was late; most others have never arrived there.
    let held = concat!(held_sql!(), " AND b.rail = 'sandbox-file' ORDER BY b.id DESC");
    let held = sqlx::query_as::<_, (i64, i64, bool)>(held);
    let mut batches: Vec<i64> = Vec::new();
    let mut given_up: Vec<i64> = Vec::new();
    for held in held.fetch_all(&world.database).await.unwrap_or_default().into_iter().map(Held::from) {
        let is_known = world.journal.one(|line| line.payout() == held.payout, |_| 0).is_some();
        if batches.len() < GIVEN_UP_LAST && held.alive && !is_known && !batches.contains(&held.batch) {
            batches.push(held.batch);
            given_up.extend(give_up(world, &held).await.into_iter().take(2));
        }
    }
    let watched = world.say("payfleet-reconciler", None, &["watch", "--once"], None).await;
    world.expect(&watched, &[0, 4]);
    for payout in given_up {
        not_paid(world, people, payout, generator).await;
    }
}

/// In peace: two people look at contested accounts and clear them, but for a sample.
pub async fn contests_cleared(world: &World, people: &People) -> Result<(), sqlx::Error> {
    let contests: Vec<i64> = sqlx::query_scalar("SELECT id FROM contest WHERE closed_at IS NULL ORDER BY id OFFSET 1")
        .fetch_all(&world.database)
        .await?;
    for contest in contests {
        for token in &people.approvers[..2] {
            let arguments = ["contests", "clear", &contest.to_string()];
            let said = world.say("payfleet-coordinator", Some(token), &arguments, None).await;
            world.expect(&said, &[0]);
        }
    }
    Ok(())
}
