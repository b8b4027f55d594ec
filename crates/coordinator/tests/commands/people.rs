//! People and their words, by the real program on a real database.

use crate::harness::Place;

/// A run of one payout over a rail of class N, which was sent, not answered, and held. The request can arrive for this
/// long.
fn held(place: &Place, alive: &str) -> String {
    place.commissions("c1,a1,o1,25.00,EUR,2011-11-05T12:00:00Z,sale\n").ok();
    place.run(&["run", "--tenant", "acme", "--period", "2011-11"]).ok();
    place.execute(&format!(
        "UPDATE run SET state = 'paying', paying_at = now();
         ALTER TABLE batch DISABLE TRIGGER batch_fixed;
         UPDATE batch SET rail = 'sandbox-file', state = 'held', attempt = 1, first_sent_at = now(), closed_at = now();
         INSERT INTO attempt
         SELECT id, 1, tenant_id, 1, 'w', now() - interval '9 days', now() + interval '{alive}', now(), 'unknown'
           FROM batch;
         UPDATE payout SET state = 'held', code = 'no_way_to_know';
         INSERT INTO hold (tenant_id, run_id, payout_id, reason) SELECT tenant_id, run_id, id, code FROM payout;"
    ));
    place.number("SELECT id FROM payout").to_string()
}

/// As if the statement of the one account had been read up to now.
fn statement_is_read(place: &Place) {
    place.execute(
        "INSERT INTO rail_account (rail, account, reaches_to, reaches_ours)
         SELECT rail, account, now(), now() FROM batch
             ON CONFLICT (rail, account) DO UPDATE SET reaches_to = now(), reaches_ours = now()",
    );
}

#[test]
fn the_first_person_needs_no_token_and_everybody_else_an_administrator() {
    let place = Place::with_affiliates();
    assert!(place.run(&["people", "list"]).ok().starts_with("there is nobody; `people add NAME --role administrator`"));
    place
        .run(&["people", "add", "bob", "--role", "approver"])
        .failed(64, "the first person must be an administrator of all tenants: `people add NAME --role administrator`");
    let first = place.run(&["people", "add", " Ann ", "--role", "administrator"]);
    assert!(first.err.starts_with("Ann was added: administrator; this token is shown only now"), "{first:?}");
    let ann = first.ok();
    let ann = ann.trim();
    assert!(ann.starts_with("payfleet_") && ann.len() == 9 + 64, "it can be recognised");

    let nobody = place.run(&["people", "add", "bob", "--role", "approver"]);
    nobody.failed(
        64,
        "there are people already, so only an administrator adds others: set PAYFLEET_TOKEN or PAYFLEET_TOKEN_FILE",
    );
    let added = place.run_as(ann, &["people", "add", "bob", "--role", "approver", "--tenant", "acme"]).ok();
    let bob = added.trim();
    assert_ne!(ann, bob);
    place
        .run_as(bob, &["people", "add", "eve", "--role", "approver", "--tenant", "acme"])
        .failed(64, "bob is approver, who may not manage people; ask an administrator");
    place.run_as(ann, &["people", "add", "ANN", "--role", "viewer"]).failed(
        64,
        "there is somebody called ANN; a name is given once, and `people replace ANN` gives them a new token",
    );
    place
        .run_as(ann, &["people", "revoke", "ann"])
        .failed(64, "Ann is the last administrator of all tenants; add another one first");
    place
        .run_as(ann, &["people", "revoke", "nobody"])
        .failed(64, "nobody is called nobody; `people list` shows who there is");

    place.run_as(ann, &["people", "revoke", "Bob"]).ok();
    let json = place.run(&["people", "list", "--json"]).json();
    assert_eq!((&json["people"][0]["name"], &json["people"][0]["tenant"]), (&"Ann".into(), &serde_json::Value::Null));
    assert_eq!(json["people"][1]["role"], "approver");
    assert_eq!(json["people"][1]["tenant"], "acme");
    assert!(json["people"][1]["revoked_at"].is_string() && json["people"][0]["revoked_at"].is_null());
    for table in ["person", "word"] {
        assert!(!place.texts(&format!("SELECT * FROM {table}")).concat().contains(&ann[9..]), "{table} keeps a token");
    }
}

#[test]
fn a_token_comes_from_the_environment_or_a_file_and_is_never_said() {
    let place = Place::with_affiliates();
    let ann = place.person("ann", "approver");
    let args = ["holds", "decide", "7", "--not-paid"];
    let missing = place.run(&args);
    assert_eq!(missing.code, 64);
    for way in ["set PAYFLEET_TOKEN ", "PAYFLEET_TOKEN_FILE", "--token-file", "people add"] {
        assert!(missing.err.contains(way), "{}", missing.err);
    }
    place.file("ann.token", format!("{ann}\n"));
    let reached = "payout 7 is not held; `holds` lists those that are";
    place.run(&["holds", "decide", "7", "--not-paid", "--token-file", "ann.token"]).failed(64, reached);
    let both = place.run_as(&ann, &["holds", "decide", "7", "--not-paid", "--token-file", "ann.token"]);
    both.failed(64, "PAYFLEET_TOKEN and PAYFLEET_TOKEN_FILE (or --token-file) are both given: remove one");
    let garbled = place.run_as("payfleet_hunter2", &args);
    assert_eq!(garbled.code, 64);
    assert!(!garbled.err.contains("hunter2") && garbled.err.contains("this is not a token"), "{}", garbled.err);
    let strange = format!("payfleet_{}", "ab".repeat(32));
    let unknown = place.run_as(&strange, &args);
    assert!(unknown.code == 64 && unknown.err.contains("people replace NAME"), "{unknown:?}");
    assert_eq!(place.run(&["holds", "decide", "7", "--not-paid", "--token", &ann]).code, 64, "never an argument");
    let loud = place.command(&args).env("PAYFLEET_TOKEN", &ann).env("PAYFLEET_LOG", "trace").output().unwrap();
    assert!(!String::from_utf8_lossy(&loud.stderr).contains(&ann), "it is in the log");
}

#[test]
fn a_hold_is_decided_by_two_people_and_not_too_early() {
    let place = Place::with_affiliates();
    let payout = held(&place, "3 days");
    let [ann, bob] = [place.person("ann", "approver"), place.person("bob", "approver")];
    let not_paid = ["holds", "decide", payout.as_str(), "--not-paid"];
    let early = place.run_as(&ann, &not_paid);
    assert!(early.code == 75 && early.err.contains("a request for it can be executed until 20"), "{early:?}");
    let listed = place.run(&["holds", "--json"]).json();
    let hold = &listed["holds"][0];
    assert_eq!((&hold["decidable"], &hold["rail"]), (&false.into(), &"sandbox-file".into()));
    let from = hold["decidable_from"].as_str().unwrap();
    assert!(from.starts_with("when the statement of sandbox-file/default reaches past 20"), "{from}");

    place.execute("UPDATE attempt SET may_arrive_until = now() - interval '1 hour'");
    let silent = place.run_as(&ann, &not_paid);
    assert!(silent.code == 75 && silent.err.contains("payfleet-reconciler watch"), "{silent:?}");
    statement_is_read(&place);
    assert_eq!(place.run(&["holds", "--json"]).json()["holds"][0]["decidable_from"], "now");

    let first = place.run_as(&ann, &not_paid).ok();
    assert_eq!(first, format!("payout {payout}: ann proposes not paid; a second person must say the same\n"));
    place.run_as(&ann, &not_paid).failed(64, "ann has said this already; a second person must say the same");
    let open = place.run(&["holds", "--json"]).json()["holds"][0].clone();
    assert_eq!((&open["proposal"], &open["proposed_by"]), (&"not_paid".into(), &"ann".into()));
    let other = place.run_as(&bob, &["holds", "decide", &payout, "--paid", "R-1"]).ok();
    assert!(place.run(&["holds", "--json"]).json()["holds"][0]["proposal"].is_null(), "it has ended");
    assert!(other.contains("bob says paid, and ann had proposed not paid; both words are kept"), "{other}");
    let table = place.run(&["holds"]).ok();
    for part in ["ann proposes: not_paid", "bob contradicts: paid R-1", "decidable from", "now"] {
        assert!(table.contains(part), "{table}");
    }
    place.run_as(&bob, &not_paid).ok();
    assert_eq!(place.run_as(&ann, &not_paid).ok(), format!("payout {payout} counts as not paid\n"));
    place.run_as(&ann, &not_paid).failed(64, &format!("payout {payout} is not held; `holds` lists those that are"));
    assert_eq!(place.texts("SELECT resolution, decided_by IS NOT NULL FROM hold"), ["(not_paid,t)"]);
    assert_eq!(place.texts("SELECT says FROM word WHERE subject = 'hold' ORDER BY id").len(), 4);
}

/// Whoever mistyped is told what they had said, and how to put it right.
#[test]
fn a_word_of_ones_own_is_corrected_by_saying_the_right_one_again() {
    let place = Place::with_affiliates();
    let payout = held(&place, "3 days");
    let [ann, bob] = [place.person("ann", "approver"), place.person("bob", "approver")];
    let paid = |who: &str, reference: &str| place.run_as(who, &["holds", "decide", &payout, "--paid", reference]).ok();
    paid(&ann, "R-1");
    let corrected = paid(&ann, "R-2");
    let told = format!(
        "payout {payout}: ann had proposed paid R-1 and takes it back; both words are kept, and nothing is proposed \
         now: say paid again"
    );
    assert!(corrected.starts_with(&told), "{corrected}");
    assert!(paid(&ann, "R-2").contains("ann proposes paid"));
    assert_eq!(paid(&bob, "R-2"), format!("payout {payout} counts as paid\n"));
}

/// A reference from the wrong line pays nobody.
#[test]
fn a_reference_of_another_payout_is_told_and_that_of_another_tenant_is_not() {
    let place = Place::with_affiliates();
    place.commissions("c2,a2,o2,25.00,EUR,2011-10-05T12:00:00Z,sale\n").ok();
    place.run(&["run", "--tenant", "acme", "--period", "2011-10"]).ok();
    let other = place.number("SELECT id FROM payout");
    place.execute(
        "UPDATE payout SET state = 'paid', reference = 'R-7', settled_at = now();
         UPDATE run SET state = 'paying', paying_at = coalesce(paying_at, now());
         INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
           SELECT tenant_id, id, 'paid', 'R-8', amount_minor, currency, 'lookup' FROM payout;
         UPDATE run SET state = 'settled', settled_at = now();",
    );
    place.commissions("c1,a1,o1,25.00,EUR,2011-11-05T12:00:00Z,sale\n").ok();
    place.run(&["run", "--tenant", "acme", "--period", "2011-11"]).ok();
    place.execute(
        "INSERT INTO hold (tenant_id, run_id, payout_id, reason)
         SELECT tenant_id, run_id, id, 'no_way_to_know' FROM payout WHERE state = 'planned';
         UPDATE payout SET state = 'held', code = 'no_way_to_know' WHERE state = 'planned'",
    );
    let payout = place.number("SELECT id FROM payout WHERE state = 'held'").to_string();
    let ann = place.person("ann", "approver");
    let said = |reference: &str| place.run_as(&ann, &["holds", "decide", &payout, "--paid", reference]);
    for reference in ["R-7", "R-8"] {
        let warned = said(reference);
        let told = format!("warning: under this reference the payment of another payout is known: {other};");
        assert!(warned.code == 0 && warned.err.starts_with(&told), "{warned:?}");
    }
    assert_eq!(said("R-9").err, "");
    // What another tenant's payments are called is nobody's business.
    place.execute(
        "INSERT INTO tenant (name) VALUES ('mart');
         ALTER TABLE run DISABLE TRIGGER ALL;
         ALTER TABLE payout DISABLE TRIGGER ALL;
         ALTER TABLE movement DISABLE TRIGGER ALL;",
    );
    place.execute(&format!(
        "UPDATE run SET tenant_id = (SELECT id FROM tenant WHERE name = 'mart') WHERE id = {other} >> 32;
         UPDATE movement SET tenant_id = (SELECT id FROM tenant WHERE name = 'mart') WHERE payout_id = {other};"
    ));
    for reference in ["R-7", "R-8"] {
        assert_eq!(said(reference).err, "", "{reference}");
    }
}

#[test]
fn two_people_may_say_at_any_time_that_it_was_paid() {
    let place = Place::with_affiliates();
    let payout = held(&place, "3 days");
    let [ann, bob] = [place.person("ann", "approver"), place.person("bob", "approver")];
    for who in [&ann, &bob] {
        place.run_as(who, &["holds", "decide", &payout, "--paid", "R-9"]).ok();
    }
    assert_eq!(place.texts("SELECT state, reference FROM payout"), ["(paid,R-9)"]);
}

#[test]
fn returns_and_contests_wait_for_two_people() {
    let place = Place::with_affiliates();
    let payout = held(&place, "3 days");
    assert_eq!(place.run(&["statements", "list"]).ok(), "no return waits to be confirmed\n");
    assert_eq!(place.run(&["contests", "list"]).ok(), "no account is contested\n");
    place.execute(
        "INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source, counts)
         SELECT tenant_id, id, 'returned', 'back-1', amount_minor, currency, 'file', false FROM payout;
         INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id)
         SELECT tenant_id, affiliate_id, currency, id FROM payout;",
    );
    let [ann, bob] = [place.person("ann", "approver"), place.person("bob", "approver")];
    assert_eq!(place.run(&["statements", "confirm", "1"]).code, 64, "somebody must say who they are");
    place
        .run_as(&ann, &["statements", "confirm", "7"])
        .failed(64, "no return waits under the number 7; `statements list` shows those that do");
    place
        .run_as(&ann, &["contests", "clear", "7"])
        .failed(64, "no account is contested under the number 7; `contests list` shows those that are");
    let first = place.run_as(&ann, &["statements", "confirm", &payout]).ok();
    assert_eq!(
        first, "return 1: ann confirms it; a second person must say the same\n",
        "by its own number, whichever was given"
    );
    let again = "ann has said this already; a second person must say the same";
    place.run_as(&ann, &["statements", "confirm", "1"]).failed(64, again);
    let json = place.run(&["statements", "list", "--json"]).json();
    assert_eq!(
        (&json["returns"][0]["reference"], &json["returns"][0]["amount_minor"]),
        (&"back-1".into(), &2500.into())
    );
    assert_eq!(json["returns"][0]["words"][0]["person"], "ann");
    assert!(place.run(&["statements", "list"]).ok().contains("25.00 EUR"));

    place.run_as(&ann, &["contests", "clear", "1"]).ok();
    place.run_as(&ann, &["contests", "clear", "1"]).failed(64, again);
    assert!(place.run(&["contests", "list"]).ok().contains("ann proposes: clear"));
    assert_eq!(place.run(&["contests", "list", "--json"]).json()["contests"][0]["affiliate"], "a1");
    let done = place.run_as(&bob, &["contests", "clear", "1"]).ok();
    assert_eq!(done, "contest 1 is over: what was held for it is cancelled, and the next run pays what is due\n");
    assert_eq!(place.number("SELECT count(*) FROM contest WHERE closed_at IS NULL"), 0);
    assert_eq!(
        place
            .texts("SELECT subject, says, effect FROM word WHERE subject IN ('movement', 'contest') ORDER BY id")
            .len(),
        3
    );
}
