//! The rule of two, for everything that two people decide: every word is kept, and the second that agrees carries it
//! out. What is carried out is the caller's, in the same transaction.

use std::collections::HashMap;

use payfleet_domain::{Act, Effect, Person, PersonId, Role, SamePerson, TenantId, Word, hear};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connect::{Step, StoreError};
use crate::session::Sessions;

/// What a word is about: a row, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// A hold.
    Hold(i64),
    /// A movement that waits to count.
    Movement(i64),
    /// A contested account.
    Contest(i64),
    /// The recovery of a database that is behind: of all tenants.
    Recovery(i64),
    /// What a recovery has put on hold.
    Control(i64),
}

impl Subject {
    fn table(self) -> (&'static str, i64) {
        match self {
            Subject::Hold(id) => ("hold", id),
            Subject::Movement(id) => ("movement", id),
            Subject::Contest(id) => ("contest", id),
            Subject::Recovery(id) => ("recovery", id),
            Subject::Control(id) => ("control", id),
        }
    }
}

/// What somebody said about a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordRow {
    /// When.
    pub at: OffsetDateTime,
    /// The name of who said it.
    pub person: String,
    /// What.
    pub says: String,
    /// What it refers to; empty if to nothing.
    pub reference: String,
    /// What it did: `proposes`, `agrees` or `contradicts`.
    pub effect: String,
}

/// Keeps a word, and says what it does and which row it is. The caller holds a lock on the subject, under which it has
/// seen that it is still open.
pub(crate) async fn word_say(
    tx: &mut PgConnection,
    person: &Person,
    tenant: impl Into<Option<TenantId>>,
    subject: Subject,
    says: &'static str,
    reference: &str,
) -> Result<Result<(Effect, i64), SamePerson>, StoreError> {
    let (table, id) = subject.table();
    // The last word is open if it proposes, and if who said it still has a say; every other word ended what was open
    // before it.
    let open: Option<(i64, i32, String, String)> = sqlx::query_as(
        "-- word_open
         SELECT last.id, last.person_id, last.says, last.reference
           FROM (SELECT * FROM word WHERE subject = $1 AND subject_id = $2 ORDER BY id DESC LIMIT 1) AS last
           JOIN person p ON p.id = last.person_id
          WHERE last.effect = 'proposes' AND p.revoked_at IS NULL AND p.role = ANY($3) FOR SHARE OF p",
    )
    .bind(table)
    .bind(id)
    .bind(deciders())
    .fetch_optional(&mut *tx)
    .await
    .step("word_open")?;
    let proposal = open.as_ref().map(|(_, by, says, reference)| Word { person: PersonId(*by), says, reference });
    let effect = match hear(proposal.as_ref(), &Word { person: person.id, says, reference }) {
        Ok(effect) => effect,
        Err(same) => return Ok(Err(same)),
    };
    let kept: i64 = sqlx::query_scalar(
        "-- word_keep
         INSERT INTO word (person_id, tenant_id, subject, subject_id, says, reference, effect, answers, answered_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
    )
    .bind(person.id.0)
    .bind(tenant.into().map(|tenant| tenant.0))
    .bind(table)
    .bind(id)
    .bind(says)
    .bind(reference)
    .bind(effect.as_str())
    .bind(open.as_ref().map(|open| open.0))
    .bind(open.as_ref().map(|open| open.1))
    .fetch_one(tx)
    .await
    .step("word_keep")?;
    Ok(Ok((effect, kept)))
}

/// The proposal that this word has ended: who made it, and what they had said.
pub(crate) async fn word_ended(tx: &mut PgConnection, word: i64) -> Result<(String, String), StoreError> {
    sqlx::query_as(
        "-- word_ended
         SELECT p.name, concat_ws(' ', replace(o.says, '_', ' '), nullif(o.reference, ''))
           FROM word w JOIN word o ON o.id = w.answers JOIN person p ON p.id = o.person_id WHERE w.id = $1",
    )
    .bind(word)
    .fetch_one(tx)
    .await
    .step("word_ended")
}

/// Who hands in a file says with it that what it tells is so: the first word about each return in these lines that
/// waits and of which nobody's word is open, if they may decide about it; also if the file was read before. It is
/// never the second word: for that somebody names the return, having looked at the account and not at a file that
/// another one has too.
pub(crate) async fn returns_propose(
    tx: &mut PgConnection,
    person: &Person,
    account: i32,
    contents: &[Uuid],
) -> Result<(), StoreError> {
    if !person.role.may(Act::Decide) {
        return Ok(());
    }
    // Locked before it is asked which words are open: whoever confirms one at this moment has it.
    let waiting: Vec<i64> = sqlx::query_scalar(
        "-- returns_heard
         SELECT m.id FROM statement_line l
           JOIN movement m ON m.payout_id = l.payout_id AND m.kind = l.kind AND m.reference = l.reference
             AND m.source = 'file'
                          AND (m.amount_minor, m.fee_minor, m.currency) = (l.amount_minor, l.fee_minor, l.currency)
          WHERE l.account_id = $1 AND l.content = ANY($2) AND l.source = 'file' AND l.kind = 'returned'
            AND NOT l.differs_return
            AND NOT m.counts AND ($3::int IS NULL OR m.tenant_id = $3) ORDER BY m.id FOR UPDATE OF m",
    )
    .bind(account)
    .bind(contents)
    .bind(person.tenant.map(|tenant| tenant.0))
    .fetch_all(&mut *tx)
    .await
    .step("returns_heard")?;
    if waiting.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- returns_propose
         INSERT INTO word (person_id, tenant_id, subject, subject_id, says, effect)
         SELECT $1, m.tenant_id, 'movement', m.id, 'confirm', $3 FROM movement m
          WHERE m.id = ANY($2) AND NOT EXISTS (
                SELECT FROM (SELECT * FROM word WHERE subject = 'movement' AND subject_id = m.id ORDER BY id DESC
                  LIMIT 1) AS last
                  JOIN person p ON p.id = last.person_id
                 WHERE last.effect = $3 AND p.revoked_at IS NULL AND p.role = ANY($4))
          ORDER BY m.id",
    )
    .bind(person.id.0)
    .bind(&waiting)
    .bind(Effect::Proposes.as_str())
    .bind(deciders())
    .execute(tx)
    .await
    .step("returns_propose")?;
    Ok(())
}

/// The roles whose words are heard.
fn deciders() -> Vec<&'static str> {
    Role::ALL.iter().filter(|role| role.may(Act::Decide)).map(Role::as_str).collect()
}

/// What was said about rows of one table, by their numbers, in order.
pub(crate) async fn words_about(
    pool: &Sessions,
    table: &'static str,
    ids: &[i64],
) -> Result<HashMap<i64, Vec<WordRow>>, StoreError> {
    let rows = sqlx::query(
        "-- words_about
         SELECT w.subject_id, w.at, p.name, w.says, w.reference, w.effect FROM word w JOIN person p
           ON p.id = w.person_id
          WHERE w.subject = $1 AND w.subject_id = ANY($2) ORDER BY w.id",
    )
    .bind(table)
    .bind(ids)
    .fetch_all(pool)
    .await
    .step("words_about")?;
    let mut words: HashMap<i64, Vec<WordRow>> = HashMap::new();
    for row in rows {
        let read = "words_about";
        words.entry(row.try_get("subject_id").step(read)?).or_default().push(WordRow {
            at: row.try_get("at").step(read)?,
            person: row.try_get("name").step(read)?,
            says: row.try_get("says").step(read)?,
            reference: row.try_get("reference").step(read)?,
            effect: row.try_get("effect").step(read)?,
        });
    }
    Ok(words)
}
