//! People: who is known by which token, and who may change that. What they say is in `decision`.

use payfleet_domain::{Act, NotAllowed, Person, PersonId, PersonName, Role, TenantId, TokenHash};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::word;
use crate::connect::{Step, Store, StoreError, detached};
use crate::locks::PEOPLE_LOCK;

/// Why somebody has no say.
#[derive(Debug, thiserror::Error)]
pub enum WhoError {
    /// The token is nobody's.
    #[error(
        "nobody has this token: it was replaced, or it is another installation's; \
         an administrator makes a new one (`people replace NAME`)"
    )]
    Unknown,
    /// Theirs no more.
    #[error("{0} was revoked and has no say any more; an administrator can give them a new token (`people replace`)")]
    Revoked(String),
    /// They may do other things.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
}

/// Why people were not changed.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// They need somebody who may.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// There are people already, and none was named.
    #[error(
        "there are people already, so only an administrator adds others: set PAYFLEET_TOKEN or PAYFLEET_TOKEN_FILE"
    )]
    NoToken,
    /// Whoever comes first must be able to add the others.
    #[error("the first person must be an administrator of all tenants: `people add NAME --role administrator`")]
    FirstIsAdministrator,
    /// Names are given once.
    #[error("there is somebody called {0}; a name is given once, and `people replace {0}` gives them a new token")]
    NameTaken(String),
    /// Nobody is called so.
    #[error("nobody is called {0}; `people list` shows who there is")]
    NoSuchPerson(String),
    /// Without them nobody could change people any more.
    #[error("{0} is the last administrator of all tenants; add another one first")]
    LastAdministrator(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Somebody, for the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Who, and what they may.
    pub person: Person,
    /// The name of their tenant; `None` is of all.
    pub tenant_name: Option<String>,
    /// Since when.
    pub added_at: OffsetDateTime,
    /// Since when not any more.
    pub revoked_at: Option<OffsetDateTime>,
}

impl Store {
    /// Adds somebody. Without `by` only the first of all, who must be an administrator of all tenants.
    pub async fn person_add(
        &self,
        by: Option<TokenHash>,
        name: PersonName,
        role: Role,
        tenant: Option<TenantId>,
        token: TokenHash,
    ) -> Result<Person, PeopleError> {
        self.transaction("person_add", move |tx| {
            let name = name.clone();
            Box::pin(async move {
                people_lock(tx).await?;
                let somebody: bool = sqlx::query_scalar("-- people_exist\nSELECT EXISTS (SELECT FROM person)")
                    .fetch_one(&mut *tx)
                    .await
                    .step("people_exist")?;
                let by = match (somebody, by) {
                    (false, _) if role == Role::Administrator && tenant.is_none() => None,
                    (false, _) => return Ok(Err(PeopleError::FirstIsAdministrator)),
                    (true, None) => return Ok(Err(PeopleError::NoToken)),
                    (true, Some(token)) => match person_may(tx, token, Act::Manage, tenant).await? {
                        Ok(by) => Some(by.id),
                        Err(who) => return Ok(Err(who.into())),
                    },
                };
                let added: Option<i32> = sqlx::query_scalar(
                    "-- person_add
                     INSERT INTO person (name, name_key, role, tenant_id, token_hash) VALUES ($1, $2, $3, $4, $5)
                         ON CONFLICT (name_key) DO NOTHING RETURNING id",
                )
                .bind(name.as_str())
                .bind(name.key())
                .bind(role.as_str())
                .bind(tenant.map(|tenant| tenant.0))
                .bind(token.0)
                .fetch_optional(&mut *tx)
                .await
                .step("person_add")?;
                let Some(id) = added else { return Ok(Err(PeopleError::NameTaken(name.to_string()))) };
                let person = Person { id: PersonId(id), name: name.to_string(), role, tenant };
                act_keep(tx, by.unwrap_or(person.id), &person, "add").await?;
                Ok(Ok(person))
            })
        })
        .await?
    }

    /// Takes the say from somebody. Returns them.
    pub async fn person_revoke(&self, by: TokenHash, name: PersonName) -> Result<Person, PeopleError> {
        self.transaction("person_revoke", move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let (by, person) = match person_to_change(tx, by, &name, Role::Viewer).await? {
                    Ok(found) => found,
                    Err(error) => return Ok(Err(error)),
                };
                sqlx::query(
                    "-- person_revoke
                     UPDATE person SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE id = $1",
                )
                .bind(person.id.0)
                .execute(&mut *tx)
                .await
                .step("person_revoke")?;
                act_keep(tx, by, &person, "revoke").await?;
                Ok(Ok(person))
            })
        })
        .await?
    }

    /// Gives somebody another token, and another role if one is named; the old token ends. Who was revoked is back with
    /// it.
    pub async fn person_replace(
        &self,
        by: TokenHash,
        name: PersonName,
        role: Option<Role>,
        token: TokenHash,
    ) -> Result<Person, PeopleError> {
        self.transaction("person_replace", move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let stays = role.unwrap_or(Role::Administrator);
                let (by, mut person) = match person_to_change(tx, by, &name, stays).await? {
                    Ok(found) => found,
                    Err(error) => return Ok(Err(error)),
                };
                person.role = role.unwrap_or(person.role);
                sqlx::query(
                    "-- person_replace\nUPDATE person SET token_hash = $2, role = $3, revoked_at = NULL WHERE id = $1",
                )
                .bind(person.id.0)
                .bind(token.0)
                .bind(person.role.as_str())
                .execute(&mut *tx)
                .await
                .step("person_replace")?;
                act_keep(tx, by, &person, "replace").await?;
                Ok(Ok(person))
            })
        })
        .await?
    }

    /// Everybody, also who was revoked.
    pub async fn people_list(&self) -> Result<Vec<PersonRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(
                "-- people_list
                 SELECT p.id, p.name, p.role, p.tenant_id, t.name AS tenant_name, p.added_at, p.revoked_at
                   FROM person p LEFT JOIN tenant t ON t.id = p.tenant_id ORDER BY p.id",
            )
            .fetch_all(&pool)
            .await
            .step("people_list")?;
            let read = |row: &PgRow| {
                Ok(PersonRow {
                    person: person(row)?,
                    tenant_name: row.try_get("tenant_name").step("people_list")?,
                    added_at: row.try_get("added_at").step("people_list")?,
                    revoked_at: row.try_get("revoked_at").step("people_list")?,
                })
            };
            rows.iter().map(read).collect()
        })
        .await
    }

    /// Who has this token.
    pub async fn person_find(&self, token: TokenHash) -> Result<Result<Person, WhoError>, StoreError> {
        self.transaction("person_find", move |tx| Box::pin(person_known(tx, token))).await
    }
}

fn person(row: &PgRow) -> Result<Person, StoreError> {
    let tenant: Option<i32> = row.try_get("tenant_id").step("person_read")?;
    Ok(Person {
        id: PersonId(row.try_get("id").step("person_read")?),
        name: row.try_get("name").step("person_read")?,
        role: word(row, "role")?,
        tenant: tenant.map(TenantId),
    })
}

async fn people_lock(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("-- people_lock\nSELECT pg_advisory_xact_lock($1)")
        .bind(PEOPLE_LOCK)
        .execute(tx)
        .await
        .step("people_lock")?;
    Ok(())
}

/// Who has this token. They cannot be revoked before the transaction has ended.
pub(crate) async fn person_known(
    tx: &mut PgConnection,
    token: TokenHash,
) -> Result<Result<Person, WhoError>, StoreError> {
    let row = sqlx::query(
        "-- person_find
         SELECT id, name, role, tenant_id, revoked_at IS NOT NULL AS revoked
           FROM person
          WHERE token_hash = $1
            FOR SHARE",
    )
    .bind(token.0)
    .fetch_optional(tx)
    .await
    .step("person_find")?;
    let Some(row) = row else { return Ok(Err(WhoError::Unknown)) };
    let person = person(&row)?;
    Ok(match row.try_get("revoked").step("person_find")? {
        true => Err(WhoError::Revoked(person.name)),
        false => Ok(person),
    })
}

/// Who has this token, if they may do this to what belongs to the tenant, or, with `None`, to all.
pub(crate) async fn person_may(
    tx: &mut PgConnection,
    token: TokenHash,
    act: Act,
    tenant: Option<TenantId>,
) -> Result<Result<Person, WhoError>, StoreError> {
    let known = person_known(tx, token).await?;
    Ok(known.and_then(|person| person.may(act, tenant).map(|()| person).map_err(WhoError::from)))
}

/// Who has this token, if they may do this to what belongs to this tenant. `None`: to what is not there, which is for
/// the caller to say.
pub(crate) async fn person_acts(
    tx: &mut PgConnection,
    token: TokenHash,
    act: Act,
    tenant: Option<TenantId>,
) -> Result<Result<Person, WhoError>, StoreError> {
    let known = person_known(tx, token).await?;
    Ok(known.and_then(|person| person.may(act, tenant.or(person.tenant)).map(|()| person).map_err(WhoError::from)))
}

/// The same of those who decide.
pub(crate) async fn person_decides(
    tx: &mut PgConnection,
    token: TokenHash,
    tenant: Option<TenantId>,
) -> Result<Result<Person, WhoError>, StoreError> {
    person_acts(tx, token, Act::Decide, tenant).await
}

/// Who changes whom, if they may, and if somebody can manage people also after this one's role is `becomes`.
async fn person_to_change(
    tx: &mut PgConnection,
    by: TokenHash,
    name: &PersonName,
    becomes: Role,
) -> Result<Result<(PersonId, Person), PeopleError>, StoreError> {
    people_lock(tx).await?;
    let row = sqlx::query(
        "-- person_named
         SELECT id, name, role, tenant_id,
                NOT EXISTS (SELECT FROM person o WHERE o.id <> p.id AND o.role = 'administrator' AND o.tenant_id IS NULL
                                                   AND o.revoked_at IS NULL) AS is_last
           FROM person p WHERE name_key = $1",
    )
    .bind(name.key())
    .fetch_optional(&mut *tx)
    .await
    .step("person_named")?;
    let found = row.as_ref().map(person).transpose()?;
    let by = match person_known(tx, by).await? {
        Ok(by) => by,
        Err(who) => return Ok(Err(who.into())),
    };
    // About who is not there, whoever manages any people may ask.
    let tenant = found.as_ref().map_or(by.tenant, |found| found.tenant);
    if let Err(not) = by.may(Act::Manage, tenant) {
        return Ok(Err(WhoError::from(not).into()));
    }
    let by = by.id;
    let (Some(row), Some(found)) = (row, found) else {
        return Ok(Err(PeopleError::NoSuchPerson(name.to_string())));
    };
    match row.try_get("is_last").step("person_named")? {
        true if !becomes.may(Act::Manage) => Ok(Err(PeopleError::LastAdministrator(found.name))),
        true | false => Ok(Ok((by, found))),
    }
}

/// Keeps who changed whom.
async fn act_keep(tx: &mut PgConnection, by: PersonId, about: &Person, says: &'static str) -> Result<(), StoreError> {
    sqlx::query(
        "-- act_keep
         INSERT INTO word (person_id, tenant_id, subject, subject_id, says, effect)
           VALUES ($1, $2, 'person', $3, $4, 'alone')",
    )
    .bind(by.0)
    .bind(about.tenant.map(|tenant| tenant.0))
    .bind(i64::from(about.id.0))
    .bind(says)
    .execute(tx)
    .await
    .step("act_keep")?;
    Ok(())
}
