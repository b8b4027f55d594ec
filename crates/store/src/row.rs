//! How a row becomes a type, by the names of its columns.
//!
//! What `#[derive(sqlx::FromRow)]` does. The driver's derive brings the whole driver, with TLS, into the build a second
//! time, for the compiler's own use: a tenth of all that a fresh machine builds.

/// Reads a type from a row whose columns are named like its fields.
macro_rules! from_row {
    ($type:ident { $($field:ident),+ }) => {
        impl<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> for $type {
            fn from_row(row: &'r sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                use sqlx::Row;
                Ok($type { $($field: row.try_get(stringify!($field))?),+ })
            }
        }
    };
}
pub(crate) use from_row;
