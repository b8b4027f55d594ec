//! Hosts and servers in other time zones and with other settings: what is due, and when, does not depend on them.

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions};

const LONG: Duration = Duration::from_secs(60);

const AFFILIATES: &str = "affiliate_id,name,email,country,currency,method,destination
a1,Ann,ann@example.com,DE,EUR,paypal,ann@example.com
a2,Bob,bob@example.com,DE,EUR,paypal,bob@example.com
";
/// On both sides of the end of January in UTC, wherever they were written down.
const COMMISSIONS: &str = "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind
c1,a1,o,10.00,EUR,2026-01-31T23:59:59Z,sale
c2,a1,o,20.00,EUR,2026-02-01T00:00:00Z,sale
c3,a2,o,40.00,EUR,2026-02-01T13:59:59+14:00,sale
c4,a2,o,80.00,EUR,2026-01-31T18:00:00-06:00,sale
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_is_the_same_month_everywhere() {
    let options = FleetOptions {
        postgres: &[
            "timezone=America/St_Johns",
            "datestyle=German",
            "intervalstyle=sql_standard",
            "extra_float_digits=0",
        ],
        variables: &[("TZ", "Pacific/Kiritimati"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "tr_TR.UTF-8")],
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::start(options).await;
    for (file, text) in [("affiliates.csv", AFFILIATES), ("commissions.csv", COMMISSIONS)] {
        std::fs::write(fleet.folder().join(file), text).unwrap();
    }
    fleet.must(&["import", "affiliates", "--tenant", "shop", "affiliates.csv"]);
    fleet.must(&["import", "commissions", "--tenant", "shop", "commissions.csv"]);
    fleet.rails_set("shop");
    let _worker = fleet.worker(&[]);
    for (period, sums) in [("2026-01", [1_000, 4_000]), ("2026-02", [2_000, 8_000])] {
        let run = fleet.run("shop", period).await;
        fleet.settled(run, LONG).await;
        let paid: Vec<i64> =
            sqlx::query_scalar("SELECT amount_minor FROM payout WHERE run_id = $1 ORDER BY amount_minor")
                .bind(run)
                .fetch_all(&fleet.database)
                .await
                .unwrap();
        assert_eq!(paid, sums, "{period}");
        fleet.assert_reconciled(run).await;
    }
    fleet.assert_paid_exactly_once().await;
}
