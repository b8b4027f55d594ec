//! The rule of two, for everything that two people decide: every word is kept, and the second that agrees carries it
//! out. What is carried out is the caller's, in the same transaction.

use std::collections::HashMap;

use payfleet_domain::{Act, Effect, Person, PersonId, Role, SamePerson, TenantId, Word, hear};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

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
}

impl Subject {
    fn table(self) -> (&'static str, i64) {
        match self {
            Subject::Hold(id) => ("hold", id),
            Subject::Movement(id) => ("movement", id),
            Subject::Contest(id) => ("contest", id),
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
    tenant: TenantId,
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
    .bind(Role::ALL.iter().filter(|role| role.may(Act::Decide)).map(Role::as_str).collect::<Vec<_>>())
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
    .bind(tenant.0)
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

/// Who hands in a file says with it that what it tells is so: the first word about each return in these lines that
/// waits, if they may decide about it.
pub(crate) async fn returns_propose(tx: &mut PgConnection, person: &Person, lines: &[i64]) -> Result<(), StoreError> {
    if !person.role.may(Act::Decide) {
        return Ok(());
    }
    sqlx::query(
        "-- returns_propose
         INSERT INTO word (person_id, tenant_id, subject, subject_id, says, effect)
         SELECT $1, m.tenant_id, 'movement', m.id, 'confirm', $4 FROM movement m
          WHERE m.line_id = ANY($3) AND NOT m.counts AND ($2::int IS NULL OR m.tenant_id = $2) ORDER BY m.id",
    )
    .bind(person.id.0)
    .bind(person.tenant.map(|tenant| tenant.0))
    .bind(lines)
    .bind(Effect::Proposes.as_str())
    .execute(tx)
    .await
    .step("returns_propose")?;
    Ok(())
}

/// What was said about rows of one table, by their numbers, in order.
pub(crate) async fn words_about(
    pool: &Sessions,
    table: &'static str,
    ids: &[i64],
) -> Result<HashMap<i64, Vec<WordRow>>, StoreError> {
    let rows = sqlx::query(
        "-- words_about
         SELECT w.subject_id, w.at, p.name, w.says, w.reference, w.effect FROM word w JOIN person p ON p.id = w.person_id
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
