//! The mutants: in the statement of this name, this fragment becomes that one. What no test can notice is explained.

use std::fmt;

pub struct Mutant {
    /// The statement's name, the fragment, and what it becomes.
    pub edits: &'static [(&'static str, &'static str, &'static str)],
    /// Why nothing changes, where nothing does.
    pub explained: &'static str,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (step, fragment, replacement)) in self.edits.iter().enumerate() {
            let and = if n > 0 { " and " } else { "" };
            write!(f, "{and}{step}: `{}` -> `{}`", fragment.trim(), replacement.trim())?;
        }
        Ok(())
    }
}

const fn needed(edits: &'static [(&'static str, &'static str, &'static str)]) -> Mutant {
    Mutant { edits, explained: "" }
}

const fn equal(edits: &'static [(&'static str, &'static str, &'static str)], explained: &'static str) -> Mutant {
    Mutant { edits, explained }
}

pub const MUTANTS: &[Mutant] = &[
    needed(&[("lease_acquire", "AND b.state IN ('ready', 'sending', 'accepted')", "")]),
    needed(&[("lease_acquire", "b.available_at <= clock_timestamp() AND ", "")]),
    needed(&[("lease_acquire", "AND b.lease_until < clock_timestamp()", "")]),
    equal(
        &[("lease_acquire", "AND r.tenant_id = b.tenant_id", "")],
        "the foreign key (tenant_id, run_id) says the same",
    ),
    needed(&[("lease_acquire", "AND r.paused_at IS NULL", "")]),
    needed(&[("lease_acquire", "AND (r.state = 'paying' OR r.state = 'cancelled' AND b.state <> 'ready')", "")]),
    needed(&[("lease_acquire", "OR r.state = 'cancelled' AND b.state <> 'ready'", "")]),
    needed(&[("lease_acquire", "r.state = 'cancelled' AND b.state <> 'ready'", "r.state = 'cancelled'")]),
    needed(&[("lease_acquire", "lease_epoch = b.lease_epoch + 1", "lease_epoch = b.lease_epoch")]),
    needed(&[("lease_acquire", "stalled_leases = b.stalled_leases + 1", "stalled_leases = b.stalled_leases")]),
    needed(&[("lease_acquire", "a.result IS NULL OR a.result = 'unknown'", "a.result IS NULL")]),
    needed(&[("lease_acquire", "a.result IS NULL OR a.result = 'unknown'", "a.result = 'unknown'")]),
    needed(&[("lease_acquire", "max(a.may_arrive_until)", "min(a.may_arrive_until)")]),
    needed(&[("leases_renew", "b.lease_epoch = held.epoch AND ", "")]),
    equal(
        &[(
            "leases_renew",
            "WHERE b.lease_epoch = held.epoch AND b.lease_until > clock_timestamp()",
            "WHERE b.lease_epoch = held.epoch",
        )],
        "spares a lock; the UPDATE looks at the time again",
    ),
    needed(&[("leases_renew", "b.id = mine.id AND mine.lease_until > clock_timestamp()", "b.id = mine.id")]),
    needed(&[("leases_renew", "ORDER BY b.id FOR NO KEY UPDATE OF b", "")]),
    needed(&[("lease_release", "AND lease_epoch = $2", "AND $2::int IS NOT NULL")]),
    needed(&[("lease_release", "AND lease_until > clock_timestamp()", "")]),
    needed(&[("intent_fence", "AND b.lease_epoch = $2", "AND $2::int IS NOT NULL")]),
    equal(
        &[("intent_fence", "AND r.tenant_id = b.tenant_id", "")],
        "the foreign key (tenant_id, run_id) says the same",
    ),
    needed(&[("intent_fence", "FOR NO KEY UPDATE OF b FOR SHARE OF r", "FOR NO KEY UPDATE OF b")]),
    needed(&[("intent_fence", "FOR NO KEY UPDATE OF b FOR SHARE OF r", "FOR SHARE OF r")]),
    needed(&[("intent_fence", "FOR NO KEY UPDATE OF b FOR SHARE OF r", "")]),
    equal(
        &[("intent_open", "AND b.lease_epoch = $2", "AND $2::int IS NOT NULL")],
        "the fence has locked the row with this epoch",
    ),
    needed(&[
        ("intent_fence", "AND b.lease_epoch = $2", "AND $2::int IS NOT NULL"),
        ("intent_open", "AND b.lease_epoch = $2", "AND $2::int IS NOT NULL"),
    ]),
    needed(&[("intent_open", "AND b.lease_until > clock_timestamp()", "")]),
    needed(&[("intent_open", "b.first_sent_at + $3 > clock_timestamp()", "$3::interval IS NOT DISTINCT FROM $3")]),
    needed(&[(
        "intent_open",
        "OR b.state = 'sending' AND b.first_sent_at + $3 > clock_timestamp()",
        "OR b.state = 'sending' AND $3::interval IS NULL AND false",
    )]),
    needed(&[("intent_open", "b.state = 'sending' AND $4 AND", "b.state = 'sending' AND ($4 OR true) AND")]),
    needed(&[("intent_open", "AND NOT EXISTS", "AND true OR EXISTS")]),
    needed(&[("intent_open", "a.result IS NULL OR a.result = 'unknown'", "a.result IS NULL")]),
    needed(&[("intent_open", "a.result IS NULL OR a.result = 'unknown'", "a.result = 'unknown'")]),
    needed(&[("intent_open", "(b.state = 'ready'", "(b.state IN ('ready', 'done', 'held')")]),
    needed(&[("intent_open", "coalesce(b.first_sent_at, clock_timestamp())", "clock_timestamp()")]),
    needed(&[("intent_open", "attempt = b.attempt + 1", "attempt = b.attempt")]),
    needed(&[("attempts_supersede", "AND may_arrive_until < clock_timestamp()", "")]),
    needed(&[("attempts_supersede", "(result IS NULL OR result = 'unknown')", "result IS NULL")]),
    needed(&[("attempts_supersede", "(result IS NULL OR result = 'unknown')", "result = 'unknown'")]),
    needed(&[("attempts_supersede", "batch_id = $1 AND", "$1::bigint IS NOT NULL AND")]),
    needed(&[("lease_valid", "lease_until > clock_timestamp()", "true")]),
    needed(&[("orders_in", "AND p.state = ANY($3)", "AND $3::text[] IS NOT NULL")]),
    needed(&[("orders_in", "p.id BETWEEN $1 AND $2", "p.id >= $1 AND $2::bigint IS NOT NULL")]),
    equal(
        &[("orders_in", "AND a.tenant_id = p.tenant_id", "")],
        "numbers of affiliates are unique; a second lock on the door",
    ),
    needed(&[("batch_lock", "FOR NO KEY UPDATE", "")]),
    needed(&[("batch_parts", "run_id = $1 AND parent_id = $2", "run_id = $1 AND parent_id = $2 AND false")]),
    needed(&[("payouts_settle", "AND p.state = ANY($3)", "AND $3::text[] IS NOT NULL")]),
    needed(&[("payouts_settle", "SELECT id, 2,", "SELECT id, 3,")]),
    needed(&[("payments_contradict", "IS DISTINCT FROM news.reference", "<> news.reference")]),
    needed(&[("payments_contradict", "WHERE p.reference IS DISTINCT FROM news.reference", "")]),
    needed(&[("payments_contradict", "ON CONFLICT DO NOTHING", "")]),
    needed(&[("payouts_return", "WHERE p.state = ANY($3)", "WHERE $3::text[] IS NOT NULL")]),
    needed(&[("payouts_return", "kind = 4 OR was <> 'paid'", "true")]),
    needed(&[("payouts_return", "kind = 4 OR was <> 'paid'", "kind = 4")]),
    needed(&[(
        "payouts_return",
        "CASE old.state WHEN 'paid' THEN p.reference ELSE old.reference END",
        "old.reference",
    )]),
    equal(
        &[("payouts_return", "FOR NO KEY UPDATE OF p", "")],
        "the batch's row is locked by every caller; keeps the order of locks",
    ),
    needed(&[("payouts_return", "a.carried_minor + m.amount_minor", "a.carried_minor")]),
    equal(
        &[("payouts_return", "ON CONFLICT DO NOTHING", "")],
        "a payout is returned once; more news of it moves nothing",
    ),
    needed(&[("payouts_accept", "AND p.state = ANY($3)", "AND $3::text[] IS NOT NULL")]),
    needed(&[("payouts_release", "AND p.state = ANY($4)", "AND $4::text[] IS NOT NULL")]),
    needed(&[("payouts_release", "a.carried_minor + m.amount_minor", "m.amount_minor")]),
    needed(&[("payouts_release", "AND a.currency = m.currency", "")]),
    equal(
        &[("payouts_release", "a.tenant_id = m.tenant_id AND ", "")],
        "numbers of affiliates are unique; lets the key be used",
    ),
    needed(&[("payouts_lose_track", "AND state = ANY($2)", "AND $2::text[] IS NOT NULL")]),
    needed(&[("evidence_insert", "ON CONFLICT DO NOTHING", "")]),
    equal(&[("holds_close", "AND p.state <> 'held'", "")], "whatever news is carried out moves a held payout"),
    needed(&[("holds_close", "h.resolved_at IS NULL AND ", "")]),
    needed(&[("attempts_alive", "a.n IS DISTINCT FROM $2 AND", "$2::int IS NOT DISTINCT FROM $2 AND")]),
    needed(&[("attempts_alive", "a.result IS NULL OR a.result = 'unknown'", "a.result IS NULL")]),
    needed(&[("attempts_alive", "a.result IS NULL OR a.result = 'unknown'", "a.result = 'unknown'")]),
    needed(&[("attempts_alive", "AND a.may_arrive_until > coalesce(", "AND a.opened_at < coalesce(")]),
    needed(&[(
        "attempts_alive",
        "coalesce((SELECT opened_at FROM attempt WHERE batch_id = $1 AND n = $2), clock_timestamp())",
        "clock_timestamp()",
    )]),
    needed(&[("attempt_close", "n = $2 AND", "$2::int IS NOT NULL AND")]),
    needed(&[("attempt_close", "result IS NULL AND ", "")]),
    needed(&[("attempt_close", "UNION ALL SELECT id FROM batch WHERE parent_id = $1", "")]),
    needed(&[("run_alarm", " AND state IN ('planning', 'planned', 'paying')", "")]),
    needed(&[("run_alarm", "coalesce(paused_at, clock_timestamp())", "paused_at")]),
    equal(
        &[("batch_count", "(result IS NULL OR result = 'unknown')", "result IS NULL")],
        "what an unknown attempt left without an answer is unknown itself, and counted",
    ),
    needed(&[("batch_count", "(result IS NULL OR result = 'unknown')", "result = 'unknown'")]),
    needed(&[("batch_count", "FILTER (WHERE state = 'unknown')", "FILTER (WHERE false)")]),
    needed(&[("batch_count", "FILTER (WHERE state = 'accepted')", "FILTER (WHERE false)")]),
    needed(&[("batch_count", "FILTER (WHERE state = 'held')", "FILTER (WHERE false)")]),
    needed(&[("attempts_resolve", "(result IS NULL OR result = 'unknown')", "result IS NULL")]),
    needed(&[("attempts_resolve", "(result IS NULL OR result = 'unknown')", "result = 'unknown'")]),
    needed(&[("batch_advance", "lease_until = CASE WHEN $3 AND $7", "lease_until = CASE WHEN $7")]),
    needed(&[("batch_advance", "lease_until = CASE WHEN $3 AND $7", "lease_until = CASE WHEN $3")]),
    needed(&[("batch_advance", "available_at = CASE WHEN $3 AND $7", "available_at = CASE WHEN $7")]),
    needed(&[("batch_advance", "stalled_leases = CASE WHEN $3 THEN 0 ELSE stalled_leases END", "stalled_leases = 0")]),
    needed(&[("batch_advance", "WHEN $2 <> 'ready' THEN first_sent_at END", "ELSE first_sent_at END")]),
    needed(&[("batch_advance", "WHEN $2 = 'accepted' THEN coalesce(first_sent_at, clock_timestamp()) ", "")]),
    needed(&[("batch_advance", "unknown_attempts + $4::int", "unknown_attempts + ($4::int - $4::int)")]),
    needed(&[("run_close_lock", " AND state = 'paying'", "")]),
    needed(&[("run_close_lock", "paused_at IS NULL", "true")]),
    needed(&[("run_close_lock", " FOR NO KEY UPDATE", "")]),
    needed(&[("run_open_batches", "'ready', 'sending', 'accepted'", "'sending', 'accepted'")]),
    needed(&[("run_open_batches", "'ready', 'sending', 'accepted'", "'ready', 'accepted'")]),
    needed(&[("run_open_batches", "'ready', 'sending', 'accepted'", "'ready', 'sending'")]),
    needed(&[("run_balance", "state = ANY($4)", "$4::text[] IS NOT NULL")]),
    needed(&[("run_balance", "coalesce(paid.n, 0) AS paid", "coalesce(pay, 0)::bigint AS paid")]),
    needed(&[("run_balance", "coalesce(paid.minor, 0)::text", "coalesce(pay_minor, 0)::text")]),
    needed(&[("run_balance", "coalesce(excluded.n, 0) AS excluded", "coalesce(exclude, 0)::bigint AS excluded")]),
    needed(&[("run_balance", "coalesce(excluded.minor, 0)::text", "coalesce(exclude_minor, 0)::text")]),
    needed(&[("run_balance", "plan FULL JOIN paid", "plan LEFT JOIN paid")]),
    needed(&[("plan_lock", "FOR NO KEY UPDATE", "")]),
    equal(
        &[("plan_chunk", "AND c.due_at <= $3 ", "")],
        "a cutoff is the end of a month, and no later months are read; true as long as it is",
    ),
    needed(&[("plan_chunk", "AND ($2::timestamptz IS NULL OR c.due_at > $2)", "")]),
    needed(&[(
        "plan_chunk",
        "c.tenant_id = $1 AND c.late_for IS NULL AND c.due_month",
        "c.tenant_id = $1 AND c.due_month",
    )]),
    needed(&[("plan_chunk", "c.late_for = $4 AND", "$4::int IS NOT NULL AND c.late_for IS NOT NULL AND")]),
    needed(&[(
        "plan_chunk",
        "a.carried_minor + coalesce(e.minor, 0) AS amount_minor",
        "coalesce(e.minor, 0) AS amount_minor",
    )]),
    equal(
        &[("plan_chunk", "AND a.affiliate_id > $5 AND a.affiliate_id <= $6", "AND a.affiliate_id <= $6")],
        "the affiliates that are joined have the same bounds; here they are for the index",
    ),
    needed(&[("plan_chunk", "AND m.retired_at IS NULL", "")]),
    needed(&[("plan_chunk", "WHEN f.on_hold THEN 'on_hold'", "")]),
    needed(&[("plan_chunk", "WHEN NOT m.usable THEN 'method_unusable'", "")]),
    needed(&[("plan_chunk", "WHEN c.amount_minor < minimum.minor THEN 'below_minimum'", "")]),
    needed(&[("plan_chunk", "d.amount_minor < m.min_minor OR ", "")]),
    needed(&[("plan_chunk", "OR d.amount_minor > m.max_minor", "")]),
    needed(&[("plan_chunk", "obstacle IS NOT NULL, priority", "priority")]),
    needed(&[(
        "plan_chunk",
        "accounts = plan.accounts + excluded.accounts, amount_minor = plan.amount_minor + excluded.amount_minor",
        "accounts = excluded.accounts, amount_minor = excluded.amount_minor",
    )]),
    needed(&[
        (
            "plan_chunk",
            "SELECT affiliate_id, currency, CASE verdict",
            "SELECT affiliate_id, currency, carried_minor AS was, CASE verdict",
        ),
        ("plan_chunk", "a.carried_minor + moved.minor", "moved.was + moved.minor"),
    ]),
    needed(&[("plan_chunk", "AND a.currency = moved.currency", "")]),
    needed(&[("cutoff_lock", "pg_advisory_xact_lock($1, $2)", "$1::int, $2::int")]),
    needed(&[("import_cutoff_lock", "pg_advisory_xact_lock_shared($1, $2)", "$1::int, $2::int")]),
    needed(&[("import_tenant_lock", "FOR NO KEY UPDATE", "")]),
    needed(&[("commissions_insert", "<= $4 THEN $3 + 1 END", "< $4 THEN $3 + 1 END")]),
    needed(&[("commissions_insert", "<= $4 THEN $3 + 1 END", "<= $4 THEN $3 + 2 END")]),
    needed(&[("commissions_insert", "a.tenant_id = $1 AND a.external_id", "a.external_id")]),
    needed(&[("run_pause", " AND state IN ('planning', 'planned', 'paying')", "")]),
    equal(
        &[("run_resume", " AND state IN ('planning', 'planned', 'paying')", "")],
        "only an open run is paused: ending one clears the pause",
    ),
    needed(&[("run_cancel", "AND (state = ANY($2) OR state = 'cancelled')", "AND $2::text[] IS NOT NULL")]),
    needed(&[("run_cancel", "OR state = 'cancelled'", "")]),
    needed(&[("batch_cancel_next", "AND state = $2", "AND ($2 = 'ready' AND state IN ('ready', 'sending'))")]),
    needed(&[("batch_cancel_next", "FOR NO KEY UPDATE", "")]),
    needed(&[("payouts_hold", "AND state = ANY($4)", "AND $4::text[] IS NOT NULL")]),
    needed(&[("batch_settle_held", "NOT now.unanswered AND ", "")]),
    needed(&[("batch_settle_held", " AND b.state NOT IN ('split', 'cancelled')", "")]),
    needed(&[("batch_settle_held", "CASE WHEN bool_or(p.state = 'accepted') THEN 'accepted' WHEN", "CASE WHEN")]),
    needed(&[("hold_batch", "b.state <> 'split' AND", "")]),
    needed(&[("hold_find", "AND resolved_at IS NULL", "")]),
    equal(&[("hold_find", " FOR UPDATE", "")], "the batch's row is locked before"),
    equal(&[("batch_halves", " AND b.payouts > 1", "")], "half of one payout breaks a CHECK; this says why"),
    needed(&[("batch_halves", "CASE $2 WHEN 'ready' THEN NULL ELSE first_sent_at END", "first_sent_at")]),
    needed(&[("batch_halves", "CASE $2 WHEN 'ready' THEN 0 ELSE attempt END", "0")]),
    needed(&[("payouts_clear", " AND state = ANY($3)", " AND $3::text[] IS NOT NULL")]),
    needed(&[("runs_begin", " AND paused_at IS NULL", "")]),
    needed(&[("runs_begin", "state = 'planned' AND", "state IN ('planning', 'planned') AND")]),
    needed(&[("batches_due", "AND b.state IN ('ready', 'sending', 'accepted')\n", "AND true\n")]),
    needed(&[("batches_due", "b.available_at <= clock_timestamp() AND ", "")]),
    needed(&[("batches_due", "AND b.lease_until < clock_timestamp()", "")]),
    needed(&[("batches_due", "(r.state = 'paying' OR b.state <> 'ready') AND ", "")]),
    needed(&[("batches_due", " AND b.id <> ALL($2)", " AND $2::bigint[] IS NOT NULL")]),
    needed(&[("batches_due", "r.state IN ('paying', 'cancelled') AND ", "")]),
    needed(&[("batches_due", "r.state IN ('paying', 'cancelled')", "r.state = 'paying'")]),
    needed(&[("batches_due", "AND r.paused_at IS NULL", "")]),
    equal(
        &[("runs_closable", "AND r.paused_at IS NULL", "AND true")],
        "the close looks at it again under the run's lock",
    ),
    equal(&[("runs_closable", "r.state = 'paying' AND ", "")], "the close looks at it again under the run's lock"),
    equal(
        &[("runs_closable", "AND NOT EXISTS", "AND true OR EXISTS")],
        "the close looks at it again under the run's lock",
    ),
    needed(&[("runs_to_cancel", " AND b.state = 'ready'", "")]),
    needed(&[("runs_to_cancel", "r.state = 'cancelled' AND ", "")]),
];
