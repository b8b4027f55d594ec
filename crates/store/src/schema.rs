//! Migrations, and the check that program and schema are of one version.

use std::fmt;

use sqlx::migrate::Migrator;

use crate::connect::{Step, Store, StoreError, detached};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How the schema of the database stands to the one that the program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// The same.
    Current,
    /// Migrations are missing.
    Older {
        /// The last migration that the database has.
        database: i64,
        /// The last one that the program knows.
        program: i64,
    },
    /// The database has migrations that the program does not know.
    Newer {
        /// The last migration that the database has.
        database: i64,
        /// The last one that the program knows.
        program: i64,
    },
}

impl fmt::Display for SchemaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaState::Current => write!(f, "the schema is current"),
            SchemaState::Older { database: 0, .. } => {
                write!(f, "the database has no Payfleet schema: run `payfleet-coordinator migrate`")
            }
            SchemaState::Older { database, program } => write!(
                f,
                "the schema (version {database}) is older than this program (version {program}): run `payfleet-coordinator migrate`"
            ),
            SchemaState::Newer { database, program } => write!(
                f,
                "the schema (version {database}) is newer than this program (version {program}): upgrade the program"
            ),
        }
    }
}

impl Store {
    /// Brings the schema up to the program's version. Safe to start twice at once: the migrator holds an advisory lock. Returns whether
    /// there was something to do.
    pub async fn schema_migrate(&self) -> Result<bool, StoreError> {
        match self.schema_state().await? {
            SchemaState::Current => return Ok(false),
            SchemaState::Older { .. } => {}
            newer @ SchemaState::Newer { .. } => return Err(StoreError::Schema(newer)),
        }
        let pool = self.pool.clone();
        detached(async move {
            let failed = |source| StoreError::Statement {
                step: "schema_migrate",
                source: sqlx::Error::Migrate(Box::new(source)),
            };
            let mut connection = pool.acquire().await.step("schema_migrate")?;
            // Not `run`, whose future the compiler cannot see to be `Send`.
            MIGRATIONS.run_direct(None, &mut *connection, false).await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    /// How the schema stands to the program.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let pool = self.pool.clone();
        let program = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        detached(async move {
            let known: bool =
                sqlx::query_scalar("-- schema_exists\nSELECT to_regclass('_sqlx_migrations') IS NOT NULL")
                    .fetch_one(&pool)
                    .await
                    .step("schema_exists")?;
            let database: i64 = match known {
                false => 0,
                true => sqlx::query_scalar(
                    "-- schema_version\nSELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success",
                )
                .fetch_one(&pool)
                .await
                .step("schema_version")?,
            };
            Ok(match database.cmp(&program) {
                std::cmp::Ordering::Less => SchemaState::Older { database, program },
                std::cmp::Ordering::Equal => SchemaState::Current,
                std::cmp::Ordering::Greater => SchemaState::Newer { database, program },
            })
        })
        .await
    }

    /// Fails unless the schema is the program's.
    pub async fn schema_check(&self) -> Result<(), StoreError> {
        match self.schema_state().await? {
            SchemaState::Current => Ok(()),
            other => Err(StoreError::Schema(other)),
        }
    }
}
