//! Statements that people save and hand in: whole, overlapping, cut, twice, and with a return that never was. What they
//! tell of returns waits for a second person.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fault::Fault;
use super::people::People;
use super::rails;
use super::world::World;
use crate::oracle::Movement;

/// What is done with files.
const KINDS: [Fault; 6] = [
    Fault::FileWhole,
    Fault::FileOverlapping,
    Fault::FileCut,
    Fault::FileAgain,
    Fault::FileForged,
    Fault::ReturnConfirmed,
];

/// No difference, differences, a server away, open or another at it.
const ANSWERS: [i32; 4] = [0, 4, 69, 75];

/// A file that was handed in.
struct Saved {
    run: i64,
    argument: String,
}

/// Until the end of the storm.
pub async fn hand_in(world: Arc<World>, people: Arc<People>, mut generator: Pcg64, ends: Instant) {
    let mut last: Option<Saved> = None;
    let mut number = 0;
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(generator.random_range(300..2_000))).await;
        number += 1;
        let what = world.table.draw(&KINDS, &mut generator);
        if let (Fault::FileAgain, Some(saved)) = (what, &last) {
            take(&world, &people, saved, what, &mut generator).await;
            continue;
        }
        if what == Fault::ReturnConfirmed {
            returned(&world, &people, number, &mut generator).await;
            continue;
        }
        if what == Fault::FileForged {
            forged(&world, &people, number, &mut generator).await;
            continue;
        }
        // There is none yet that could be handed in again.
        let what = if what == Fault::FileAgain { Fault::FileWhole } else { what };
        let Some((run, rail, account)) = one_run(&world).await else { continue };
        let ago = Duration::from_secs(generator.random_range(5..60));
        let from = (what == Fault::FileOverlapping).then(|| OffsetDateTime::now_utc() - ago);
        let Some(mut lines) = saved(&world, &rail, &account, from).await else { continue };
        if what == Fault::FileCut {
            // Its end goes with what is cut off.
            lines.truncate(generator.random_range(1..lines.len()));
        }
        let argument = save(&world, number, &rail, &account, &lines);
        let saved = Saved { run, argument };
        take(&world, &people, &saved, what, &mut generator).await;
        last = Some(saved);
    }
}

/// A file tells of a return that never was. One person alone frees nothing by it.
async fn forged(world: &World, people: &People, number: u32, generator: &mut Pcg64) {
    let Some((paid, _)) = rails::untouched(world, generator).await else { return };
    world.deeds.wrong(paid.payout(), "a file tells of a return that never was");
    let never = Movement { id: format!("rt_never_{number}"), at: OffsetDateTime::now_utc(), ..paid };
    let Some(saved) = save_return(world, number, &never).await else { return };
    take(world, people, &saved, Fault::FileForged, generator).await;
}

/// A run with an account that it is paid from.
async fn one_run(world: &World) -> Option<(i64, String, String)> {
    let one = sqlx::query_as(
        "SELECT r.id, b.rail, b.account FROM run r
           JOIN LATERAL (SELECT rail, account FROM batch WHERE run_id = r.id LIMIT 1) AS b ON true
          WHERE r.state <> 'planning' ORDER BY random() LIMIT 1",
    );
    one.fetch_optional(&world.database).await.ok().flatten()
}

/// As the rail shows it to whoever logs in there.
async fn saved(world: &World, rail: &str, account: &str, from: Option<OffsetDateTime>) -> Option<Vec<String>> {
    let shape = rail.strip_prefix("sandbox-")?;
    let mut url = format!("http://{}/statement.csv?shape={shape}&end=1&full=1", world.rail);
    if let Some(from) = from {
        url += &format!("&from={}", from.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?);
    }
    let answer = world.http.get(url).header("X-Account", account).send().await.ok()?;
    let text = answer.error_for_status().ok()?.text().await.ok()?;
    // A rail that dies while it tells leaves a half.
    text.ends_with('\n').then(|| text.lines().map(str::to_owned).collect::<Vec<_>>()).filter(|lines| lines.len() > 2)
}

fn save(world: &World, number: u32, rail: &str, account: &str, lines: &[String]) -> String {
    let path: PathBuf = world.folder().join(format!("statement-{number}.csv"));
    std::fs::write(&path, lines.join("\n") + "\n").expect("a file can be written");
    format!("{rail}/{account}={}", path.display())
}

/// A file with nothing in it but one return.
async fn save_return(world: &World, number: u32, back: &Movement) -> Option<Saved> {
    let run = back.payout() >> 32;
    let rail = sqlx::query_scalar::<_, String>("SELECT rail FROM batch WHERE run_id = $1 LIMIT 1").bind(run);
    let rail = rail.fetch_optional(&world.database).await.ok()??;
    let at = back.at.format(&Rfc3339).ok()?;
    let lines = [
        "key,reference,amount_minor,currency,destination,status,at".to_owned(),
        format!("{},{},{},{},{},returned,{at}", back.key, back.id, back.amount_minor, back.currency, back.destination),
    ];
    Some(Saved { run, argument: save(world, number, &rail, &back.account, &lines) })
}

async fn take(world: &World, people: &People, saved: &Saved, what: Fault, generator: &mut Pcg64) {
    let token = generator.random_bool(0.5).then(|| people.two(generator)[0]);
    let lives = generator.random_bool(0.2).then(|| Duration::from_millis(generator.random_range(5..400)));
    let arguments = ["run", &saved.run.to_string(), "--statement", &saved.argument];
    let said = world.say("payfleet-reconciler", token, &arguments, lives).await;
    world.expect(&said, &ANSWERS);
    match said.code {
        None => world.table.count(Fault::FileKilled),
        Some(0 | 4 | 75) => world.table.count(what),
        Some(_) => {}
    }
}

/// Money comes back, and the file that tells of it is handed in before the rail has been asked, if its reader is quick:
/// two people free it.
async fn returned(world: &World, people: &People, number: u32, generator: &mut Pcg64) {
    let Some((paid, _)) = rails::untouched(world, generator).await else { return };
    if !rails::ask(world, "return", &json!({ "id": paid.id, "code": "account_closed", "fee_minor": 0 })).await {
        return;
    }
    let of_it = |line: &Movement| line.event == "returned" && line.key == paid.key;
    world.journal.read_on();
    let Some(back) = world.journal.one(of_it, |_| 0) else { return };
    let Some(Saved { run, argument }) = save_return(world, number, &back).await else { return };
    let run = run.to_string();
    let [one, other] = people.two(generator);
    let said = world.say("payfleet-reconciler", Some(one), &["run", &run, "--statement", &argument], None).await;
    world.expect(&said, &ANSWERS);
    let confirm = ["statements", "confirm", &paid.payout().to_string()];
    let again = world.say("payfleet-coordinator", Some(one), &confirm, None).await;
    world.expect(&again, &[0, 64, 69]);
    if again.text.contains("has said this already") {
        world.table.count(Fault::SamePersonTwice);
    }
    let second = world.say("payfleet-coordinator", Some(other), &confirm, None).await;
    world.expect(&second, &[0, 64, 69]);
    if second.text.contains("counts from now on") {
        world.table.count(Fault::ReturnConfirmed);
    }
}
