//! Importing commissions from CSV, against COPY of the same rows: of affiliates that have accounts already, as in every
//! month but the first, and of new ones, for whom the import opens accounts too.

use crate::bench::Bench;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::watch;
use crate::bench::site::Site;

const CASE: &str = "import";

/// Its own database.
const DATABASE: &str = "data_import";

/// Takes the commissions away again, with what Postgres remembers of them.
const EMPTY: &str = "
    TRUNCATE commission;
    DELETE FROM pg_statistic WHERE starelid = 'commission'::regclass;
    CHECKPOINT;";

/// And the accounts.
const EMPTY_OF_ACCOUNTS: &str = "
    TRUNCATE account;
    DELETE FROM pg_statistic WHERE starelid = 'account'::regclass;";

/// Everything but the generated column.
const EXPORT: &str = "\\copy (SELECT tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, \
                      late_for, kind, order_ref FROM commission ORDER BY ctid) TO 'commission.csv' (FORMAT csv)";

const COPY: &str = "
SELECT extract(epoch FROM clock_timestamp());
\\copy commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, \
late_for, kind, order_ref) FROM 'commission.csv' (FORMAT csv)
SELECT extract(epoch FROM clock_timestamp());";

/// COPY, import, COPY.
pub async fn measure(bench: &mut Bench) {
    let affiliates = bench.size(1_000_000);
    let site = &bench.site;
    site.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
    site.coordinator(DATABASE, &["migrate"]).await;
    site.coordinator(DATABASE, &["sample", "--affiliates", &affiliates.to_string(), "--plain", "--into", "sample"])
        .await;
    site.coordinator(DATABASE, &["import", "affiliates", "--tenant", "bench", "sample/sample_affiliates.csv"]).await;
    site.execute(DATABASE, "VACUUM ANALYZE").await;
    let import = ["import", "commissions", "--tenant", "bench", "sample/sample_commissions.csv"];
    site.coordinator(DATABASE, &import).await; // only for the file that COPY reads
    site.execute(DATABASE, EXPORT).await;

    let before = copy(site, affiliates).await;
    let mut imported = Vec::new();
    for accounts in ["", EMPTY_OF_ACCOUNTS] {
        site.execute(DATABASE, accounts).await;
        site.execute(DATABASE, EMPTY).await;
        let mut command = site.program("payfleet-coordinator", DATABASE);
        command.args(import);
        imported.push(watch(site, "payfleet-coordinator", command).await);
        count(site, affiliates).await;
    }
    let after = copy(site, affiliates).await;
    site.execute("postgres", &format!("DROP DATABASE {DATABASE} WITH (FORCE); CHECKPOINT;")).await;

    let report = &mut bench.report;
    report.shown(CASE, "COPY of 1,000,000 commissions, before", before, Unit::Seconds);
    report.shown(CASE, "importing them", imported[0].secs, Unit::Seconds);
    report.shown(CASE, "importing them with all their accounts", imported[1].secs, Unit::Seconds);
    report.shown(CASE, "COPY, after", after, Unit::Seconds);
    let copied = f64::midpoint(before, after);
    report.judged(CASE, "importing against COPY", imported[0].secs / copied, Unit::Times, Goal::AtMost(1.5));
    report.shown(CASE, "importing with accounts against COPY", imported[1].secs / copied, Unit::Times);
    let peak = imported.iter().map(|watched| watched.used.peak_kib).max().unwrap_or(0);
    report.shown(CASE, "peak memory of the import", peak as f64 / 1024.0, Unit::Mib);
}

/// By the database's clock, so that starting psql costs it nothing.
async fn copy(site: &Site, rows: u64) -> f64 {
    site.execute(DATABASE, EMPTY).await;
    let printed = site.psql(DATABASE, COPY, &[]).await;
    let at: Vec<f64> = printed.iter().filter_map(|line| line.parse().ok()).collect();
    count(site, rows).await;
    at[1] - at[0]
}

async fn count(site: &Site, rows: u64) {
    let printed = site.psql(DATABASE, "SELECT count(*) FROM commission", &[]).await;
    assert_eq!(printed, [rows.to_string()], "not all commissions are there");
}
