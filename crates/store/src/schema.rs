//! Migrations, and the check that program and schema go together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::connect::{Step, Store, StoreError, detached};

macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../migrations/", $name, ".sql")))),+]
    };
}

/// What is in `migrations/`, in order: the name, which begins with the number, and the statements.
const MIGRATIONS: &[(&str, &str)] = migrations![
    "0001_init",
    "0002_statements",
    "0003_people",
    "0004_stops",
    "0005_limits_and_bounds",
    "0006_files_and_rails",
    "0007_alarms",
    "0008_file_reaches",
    "0009_generations",
    "0011_accepted_ends",
    "0012_schema_serves",
    "0013_waits",
    "0014_lost_generations",
    "0015_doors",
    "0016_method_kinds",
    "0018_views",
    "0020_booked",
    "0021_recovered",
    "0022_notices",
    "0023_outcomes",
    "0024_rail_bounds",
    "0025_lines_named",
    "0026_pays",
    "0027_parts_that_grow",
    "0028_funding_stops",
    "0031_takes_back",
];

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migration = |(name, sql): &(&str, &'static str)| {
        let (number, words) = numbered(name);
        let kind = MigrationType::Simple;
        Migration::new(number, words.replace('_', " ").into(), kind, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
});

/// The number and the words of a migration's name.
fn numbered(name: &str) -> (i64, &str) {
    let parts = name.split_once('_').and_then(|(number, words)| Some((number.parse().ok()?, words)));
    parts.expect("a name is a number and words: it is one of MIGRATIONS, which a test goes through")
}

/// The migration from which on a schema says which programs it serves.
const SERVES_SINCE: i64 = 12;

/// How the schema of the database stands to the one that the program was built for. A program serves the schemas from
/// its own on, as far as those say that they serve it.
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
    /// The database has migrations that the program does not know, and they say that programs built for its schema may
    /// go on.
    Newer {
        /// The last migration that the database has.
        database: i64,
        /// The last one that the program knows.
        program: i64,
    },
    /// The database has migrations that the program does not know, and programs built for its schema may not go on.
    TooNew {
        /// The last migration that the database has.
        database: i64,
        /// The last one that the program knows.
        program: i64,
        /// The oldest schema that a program must have been built for.
        serves_from: i64,
    },
    /// A migration was another one when it was applied.
    Different {
        /// Which.
        migration: i64,
    },
}

impl SchemaState {
    /// Whether the program may work on it.
    pub fn is_served(&self) -> bool {
        match self {
            SchemaState::Current | SchemaState::Newer { .. } => true,
            SchemaState::Older { .. } | SchemaState::TooNew { .. } | SchemaState::Different { .. } => false,
        }
    }
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
                "the schema (version {database}) lacks migrations of this program (version {program}): \
                 run `payfleet-coordinator migrate`"
            ),
            SchemaState::Newer { database, program } => write!(
                f,
                "the schema (version {database}) is newer than this program (version {program}), and serves it"
            ),
            SchemaState::TooNew { database, program, serves_from } => write!(
                f,
                "the schema (version {database}) serves programs from version {serves_from} on, and this one is of \
                 version {program}: upgrade the program"
            ),
            SchemaState::Different { migration } => write!(
                f,
                "migration {migration} is not the one that was applied to this database: \
                 it was changed after its release, or this is the database of another build; \
                 use the programs that it was migrated with"
            ),
        }
    }
}

impl Store {
    /// Brings the schema up to the program's version. Safe to start twice at once: the migrator holds an advisory lock.
    /// Returns whether there was something to do.
    pub async fn schema_migrate(&self) -> Result<bool, StoreError> {
        match self.schema_state().await? {
            SchemaState::Current | SchemaState::Newer { .. } => return Ok(false),
            SchemaState::Older { .. } => {}
            other @ (SchemaState::TooNew { .. } | SchemaState::Different { .. }) => {
                return Err(StoreError::Schema(other));
            }
        }
        let pool = self.pool.clone();
        detached(async move {
            let failed = |source| StoreError::Statement {
                step: "schema_migrate",
                source: sqlx::Error::Migrate(Box::new(source)),
            };
            let mut connection = pool.acquire().await.step("schema_migrate")?;
            // A database may have migrations of a newer program, and lack one of ours that it was released without.
            let mut migrations = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
            migrations.set_ignore_missing(true);
            // Not `run`, whose future the compiler cannot see to be `Send`.
            migrations.run_direct(None, &mut *connection, false).await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    /// How the schema stands to the program.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let known: bool =
                sqlx::query_scalar("-- schema_exists\nSELECT to_regclass('_sqlx_migrations') IS NOT NULL")
                    .fetch_one(&pool)
                    .await
                    .step("schema_exists")?;
            let applied: Vec<(i64, Vec<u8>)> = match known {
                false => Vec::new(),
                true => sqlx::query_as(
                    "-- schema_versions\nSELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
                )
                .fetch_all(&pool)
                .await
                .step("schema_versions")?,
            };
            let applied: BTreeMap<i64, Vec<u8>> = applied.into_iter().collect();
            let ours = MIGRATOR.iter().map(|migration| (migration.version, migration.checksum.to_vec()));
            let serves_from = match applied.contains_key(&SERVES_SINCE) {
                false => None,
                true => sqlx::query_scalar("-- schema_serves\nSELECT max(serves_from) FROM schema_serves")
                    .fetch_one(&pool)
                    .await
                    .step("schema_serves")?,
            };
            Ok(stands(&applied, &ours.collect(), serves_from))
        })
        .await
    }

    /// Fails unless the program may work on the schema.
    pub async fn schema_check(&self) -> Result<(), StoreError> {
        match self.schema_state().await? {
            served if served.is_served() => Ok(()),
            other => Err(StoreError::Schema(other)),
        }
    }
}

/// How migrations that were applied stand to those of a program, both with their checksums.
fn stands(applied: &BTreeMap<i64, Vec<u8>>, ours: &BTreeMap<i64, Vec<u8>>, serves_from: Option<i64>) -> SchemaState {
    let last = |of: &BTreeMap<i64, Vec<u8>>| of.keys().next_back().copied().unwrap_or(0);
    let (database, program) = (last(applied), last(ours));
    let differs =
        |(version, sum): (&i64, &Vec<u8>)| applied.get(version).is_some_and(|there| there != sum).then_some(*version);
    if let Some(migration) = ours.iter().find_map(differs) {
        return SchemaState::Different { migration };
    }
    if ours.keys().any(|version| !applied.contains_key(version)) {
        return SchemaState::Older { database, program };
    }
    match applied.len() > ours.len() {
        false => SchemaState::Current,
        true => match serves_from {
            Some(serves_from) if serves_from <= program => SchemaState::Newer { database, program },
            serves_from => SchemaState::TooNew { database, program, serves_from: serves_from.unwrap_or(database) },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_listed() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).expect("it is there");
        let mut files: Vec<String> =
            folder.map(|file| file.expect("it can be read").file_name().into_string().expect("ASCII")).collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS.iter().map(|(name, _)| format!("{name}.sql")).collect();
        assert_eq!(listed, files);
        assert!(MIGRATIONS.is_sorted_by_key(|(name, _)| numbered(name).0));
        // The driver's own reading of a folder takes such a file out of its transaction; the list does not.
        assert!(MIGRATIONS.iter().all(|(_, sql)| !sql.starts_with("-- no-transaction")));
    }

    fn with(versions: &[i64]) -> BTreeMap<i64, Vec<u8>> {
        versions.iter().map(|version| (*version, vec![*version as u8])).collect()
    }

    #[test]
    fn a_program_serves_its_own_schema_and_newer_ones_that_serve_it() {
        let ours = with(&[1, 2, 4]);
        let stands = |applied: &[i64], serves_from| stands(&with(applied), &ours, serves_from);
        assert_eq!(stands(&[1, 2, 4], None), SchemaState::Current);
        assert_eq!(stands(&[], None), SchemaState::Older { database: 0, program: 4 });
        assert_eq!(stands(&[1, 2], None), SchemaState::Older { database: 2, program: 4 });
        assert_eq!(stands(&[1, 4, 5], Some(1)), SchemaState::Older { database: 5, program: 4 }, "one was left out");
        assert_eq!(stands(&[1, 2, 3, 4], Some(4)), SchemaState::Newer { database: 4, program: 4 });
        assert_eq!(stands(&[1, 2, 4, 5], Some(4)), SchemaState::Newer { database: 5, program: 4 });
        for (serves, serves_from) in [(Some(5), 5), (None, 5)] {
            let too_new = SchemaState::TooNew { database: 5, program: 4, serves_from };
            assert_eq!(stands(&[1, 2, 4, 5], serves), too_new);
            assert!(!too_new.is_served());
        }
        let changed = BTreeMap::from([(1, vec![1]), (2, vec![9]), (4, vec![4])]);
        assert_eq!(super::stands(&changed, &ours, None), SchemaState::Different { migration: 2 });
    }
}
