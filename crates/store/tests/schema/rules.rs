//! Each rule of the schema with statements that break it alone, and the rows that they meet.

/// One row or two in each table. Payouts and batches of run 1 are numbered from 1 << 32.
pub const ROWS: &str = "
  INSERT INTO tenant (name) VALUES ('t'), ('u');
  INSERT INTO tenant_rail VALUES (1, 'paypal', 'null', 'a', NULL);
  INSERT INTO tenant_method VALUES (1, 'paypal', 'email');
  INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
  SELECT 1, 'a' || n, 'n', 'e', 'DE', 'EUR' FROM generate_series(1, 2) AS n;
  INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority)
    VALUES (1, 1, 'paypal', 'x', 0), (1, 1, 'sepa', 'y', 1);
  INSERT INTO payout_limit VALUES (1, 1, 'paypal', 'EUR', NULL, 5);
  INSERT INTO tenant_volume VALUES (1, 'EUR', 105);
  INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
    order_ref)
  VALUES (1, 'c1', 1, 'EUR', 100, '2026-01-02Z', '2026-01-02Z', 'sale', ''),
    (1, 'c2', 1, 'EUR', -5, '2026-01-02Z', '2026-01-02Z', 'clawback', '');
  INSERT INTO account (tenant_id, affiliate_id, currency) VALUES (1, 1, 'EUR'), (1, 2, 'EUR');
  INSERT INTO run (tenant_id, period, sequence, ordinal, opens_after, cutoff, minimum)
  VALUES (1, '2026-01', 1, 1, NULL, '2026-02-01Z', 1), (1, '2026-02', 1, 2, '2026-02-01Z', '2026-03-01Z', 1),
    (2, '2026-01', 1, 1, NULL, '2026-02-01Z', 1);
  INSERT INTO plan_chunk VALUES (1, 1, 1, 0, 5, 0, 2), (1, 2, 1, 5, 9, 2, 2);
  INSERT INTO run_plan VALUES (1, 1, 'EUR', 'pay', 1, 100);
  INSERT INTO exclusion VALUES (1, 1, 'USD', 1, 'on_hold', 5, 0), (1, 2, 'USD', 1, 'on_hold', 5, 0);
  INSERT INTO batch (tenant_id, run_id, rail, account, currency, first_payout_id, last_payout_id, payouts, amount_minor)
  VALUES (1, 1, 'null', 'a', 'EUR', 4294967296, 4294967297, 2, 200),
    (1, 1, 'null', 'a', 'EUR', 4294967298, 4294967298, 1, 100);
  INSERT INTO attempt SELECT 1, n, 1, 1, 'w', '2026-02-02Z', '2026-02-03Z' FROM generate_series(1, 2) AS n;
  INSERT INTO payout (id, run_id, affiliate_id, method_id, amount_minor, carried_minor, tenant_id, currency)
  VALUES (4294967296, 1, 1, 1, 100, 0, 1, 'EUR'), (4294967297, 1, 2, 1, 100, 0, 1, 'EUR');
  INSERT INTO evidence (tenant_id, payout_id, source, says, reference) VALUES (1, 4294967296, 'answer', 'paid', 'r');
  INSERT INTO transfer (payout_id, amount_minor, tenant_id, kind, currency)
    VALUES (4294967296, 100, 1, 0, 'EUR'), (4294967296, 100, 1, 2, 'EUR');
  INSERT INTO hold (tenant_id, run_id, payout_id, reason) VALUES (1, 1, 4294967296, 'r'), (1, 1, 4294967297, 'r');
  INSERT INTO person (name, name_key, role, token_hash)
    VALUES ('Ann', 'ann', 'approver', sha256('a')), ('Bob', 'bob', 'approver', sha256('b'));
  INSERT INTO word (person_id, subject, subject_id, says, effect, answers, answered_by)
  VALUES (1, 'hold', 1, 'not_paid', 'proposes', NULL, NULL), (2, 'hold', 1, 'not_paid', 'agrees', 1, 1),
    (1, 'hold', 2, 'not_paid', 'proposes', NULL, NULL);
  INSERT INTO control (tenant_id, affiliate_id, reason) VALUES (1, 1, 'r');
  INSERT INTO control (tenant_id, payout_id, reason) VALUES (1, 4294967296, 'r'), (1, 4294967297, 'r');
  INSERT INTO reconciliation (tenant_id, run_id, statement, lines, discrepancies) VALUES (1, 1, 's', 1, 1);
  INSERT INTO discrepancy (reconciliation_id, tenant_id, kind) VALUES (1, 1, 'k');
  INSERT INTO rail_account (rail, account) VALUES ('null', 'a'), ('null', 'b');
  INSERT INTO account_limit VALUES ('null', 'a', 'EUR', 5), ('null', 'a', 'USD', 5);
  INSERT INTO statement_part (account_id, source, name, digest, lines) VALUES (1, 'rail', 'p', sha256('p'), 1);
  INSERT INTO listed VALUES (1, 0, 0::bit(8192)), (1, 1, 0::bit(8192));
  INSERT INTO listed_by_file VALUES (1, 0, 0::bit(8192)), (1, 1, 0::bit(8192));
  INSERT INTO statement_line (account_id, content, kind, key, reference, amount_minor, currency, destination, source)
  SELECT 1, md5(n::text)::uuid, 'returned', 'k', 'r', 100, 'EUR', 'x', 'file' FROM generate_series(1, 3) AS n;
  INSERT INTO statement_line_named (line_id, payout_id) VALUES (3, 4294967296);
  INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source, counts, line_id)
  VALUES (1, 4294967296, 'paid', 'r2', 100, 'EUR', 'answer', true, NULL),
    (1, 4294967296, 'returned', 'r3', 100, 'EUR', 'file', false, 1),
         (1, 4294967296, 'returned', 'r4', 100, 'EUR', 'file', true, NULL);
  INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id)
    VALUES (1, 1, 'EUR', 4294967296), (1, 2, 'EUR', 4294967297);
  INSERT INTO alarm (tenant_id, run_id, payout_id, kind, words)
    VALUES (1, 1, 4294967296, 'double_payment', 'w'), (1, 1, NULL, 'out_of_balance', 'w');
  INSERT INTO alarm_answer (alarm_id, person_id, words) VALUES (1, 1, 'w');
  INSERT INTO generation (no, key) VALUES (2, md5('2')::uuid);
  INSERT INTO recovery (found_by, words, doubted_at, closed_at, generation, decided_by)
    VALUES ('p', 'w', now(), now(), 2, 2);
  INSERT INTO recovery (found_by, words, doubted_at) VALUES ('p', 'w', now());
  INSERT INTO generation_lost (key, recovery_id) VALUES (md5('8')::uuid, 1);
  INSERT INTO stray_booked VALUES (1, 1, 1, 1);
  INSERT INTO notice (rail, account, event, kind, signed, body)
    VALUES ('paypal', 'a', 'e1', 'k', sha256('1'), 'x'), ('paypal', 'a', 'e2', 'k', sha256('2'), 'x');
  INSERT INTO funding_stop (rail, account, currency, reason, stopped_at, probe_at)
    VALUES ('null', 'a', '', 'restricted', now(), now()), ('null', 'a', 'EUR', 'no_funds', now(), now());
  INSERT INTO worker (name, version, started_at, is_ending, rails, lacks, paced)
    VALUES ('w1', '1', now(), false, '{}', '{}', '{}'),
         ('w2', '1', now(), false, '{}', '{}', '{}');";

macro_rules! word {
    ($values:literal) => {
        concat!(
            "INSERT INTO word (person_id, subject, subject_id, says, reference, effect, answers, answered_by) VALUES ",
            $values
        )
    };
}

macro_rules! part {
    ($values:literal) => {
        concat!(
            "INSERT INTO statement_part (account_id, source, name, digest, lines, from_at, until_at) VALUES ",
            $values
        )
    };
}

macro_rules! line {
    ($values:literal) => {
        concat!(
            "INSERT INTO statement_line (account_id, content, kind, source, key, reference, amount_minor, currency,
               destination)
             SELECT v.*, 'k', 'r', 100, 'EUR', 'x' FROM (VALUES ",
            $values,
            ") AS v"
        )
    };
}

macro_rules! movement {
    ($values:literal) => {
        concat!(
            "INSERT INTO movement (tenant_id, currency, payout_id, kind, reference, of_reference, amount_minor,
               fee_minor, source, counts, line_id)
             SELECT 1, 'EUR', 1, v.* FROM (VALUES ",
            $values,
            ") AS v"
        )
    };
}

macro_rules! notice {
    ($values:literal) => {
        concat!("INSERT INTO notice (rail, account, event, kind, signed, body) VALUES ", $values)
    };
}

macro_rules! alarm {
    ($values:literal) => {
        concat!("INSERT INTO alarm (tenant_id, run_id, payout_id, kind, words) VALUES ", $values)
    };
}

macro_rules! transfer {
    ($values:literal) => {
        concat!(
            "INSERT INTO transfer (payout_id, amount_minor, tenant_id, currency, kind, due_in)
             SELECT 1, 1, 1, 'EUR', v.* FROM (VALUES ",
            $values,
            ") AS v"
        )
    };
}

/// The rule, and statements of which each breaks it alone.
pub const RULES: &[(&str, &[&str])] = &[
    ("account_currency_check", &["UPDATE account SET currency = 'eur' WHERE affiliate_id = 1"]),
    ("account_limit_currency_check", &["UPDATE account_limit SET currency = 'eur' WHERE currency = 'EUR'"]),
    ("account_limit_max_minor_check", &["UPDATE account_limit SET max_minor = 0"]),
    ("account_limit_pkey", &["UPDATE account_limit SET currency = 'EUR'"]),
    ("account_pkey", &["UPDATE account SET affiliate_id = 1 WHERE affiliate_id = 2"]),
    ("affiliate_alike_of_first", &["UPDATE affiliate SET alike_of = 2 WHERE id = 1"]),
    ("affiliate_currency_check", &["UPDATE affiliate SET currency = 'EU1' WHERE id = 2"]),
    (
        "affiliate_external_id_check",
        &[
            "UPDATE affiliate SET external_id = ' a2' WHERE id = 2",
            "UPDATE affiliate SET external_id = '' WHERE id = 2",
        ],
    ),
    (
        "affiliate_fixed",
        &["UPDATE affiliate SET external_id = 'b2' WHERE id = 2", "UPDATE affiliate SET tenant_id = 2 WHERE id = 2"],
    ),
    (
        "affiliate_pkey",
        &["INSERT INTO affiliate OVERRIDING SYSTEM VALUE VALUES (1, 2, 'a', 'n', 'e', 'DE', 'EUR')"],
    ),
    ("affiliate_tenant_id_external_id_key", &["UPDATE affiliate SET external_id = 'a1' WHERE id = 2"]),
    ("affiliate_tenant_id_fkey", &["UPDATE affiliate SET tenant_id = 99 WHERE id = 2"]),
    ("alarm_answer_alarm_id_fkey", &["INSERT INTO alarm_answer (alarm_id, person_id, words) VALUES (99, 1, 'w')"]),
    (
        "alarm_answer_append_only",
        &[
            "UPDATE alarm_answer SET words = 'x'",
            "DELETE FROM alarm_answer",
            "TRUNCATE alarm_answer",
        ],
    ),
    ("alarm_answer_person_id_fkey", &["INSERT INTO alarm_answer (alarm_id, person_id, words) VALUES (2, 99, 'w')"]),
    ("alarm_answer_pkey", &["INSERT INTO alarm_answer (alarm_id, person_id, words) VALUES (1, 2, 'w')"]),
    ("alarm_answer_words_check", &["INSERT INTO alarm_answer (alarm_id, person_id, words) VALUES (2, 1, '')"]),
    (
        "schema_serves_append_only",
        &["UPDATE schema_serves SET serves_from = 13", "DELETE FROM schema_serves", "TRUNCATE schema_serves"],
    ),
    ("schema_serves_pkey", &["INSERT INTO schema_serves (serves_from) VALUES (12)"]),
    ("schema_serves_serves_from_check", &["INSERT INTO schema_serves (serves_from) VALUES (0)"]),
    ("alarm_append_only", &["UPDATE alarm SET words = 'x'", "DELETE FROM alarm WHERE id = 2"]),
    ("alarm_check", &[alarm!("(1, 2, 4294967296, 'double_payment', 'x')")]),
    ("alarm_kind_check", &[alarm!("(1, 1, 4294967296, 'x', 'w')")]),
    ("alarm_once", &[alarm!("(1, 1, 4294967296, 'double_payment', 'w')")]),
    (
        "alarm_pkey",
        &["INSERT INTO alarm (id, tenant_id, run_id, kind, words) OVERRIDING SYSTEM VALUE
           VALUES (1, 1, 1, 'uncountable', 'w')"],
    ),
    (
        "alarm_tenant_id_run_id_fkey",
        &[
            alarm!("(1, 3, NULL, 'out_of_balance', 'w')"),
            alarm!("(1, 99, NULL, 'out_of_balance', 'w')"),
        ],
    ),
    ("attempt_check", &["UPDATE attempt SET may_arrive_until = opened_at WHERE n = 1"]),
    (
        "attempt_check1",
        &["UPDATE attempt SET result = 'answered' WHERE n = 1", "UPDATE attempt SET closed_at = now() WHERE n = 1"],
    ),
    ("attempt_n_check", &["UPDATE attempt SET n = 0 WHERE n = 1"]),
    ("attempt_pkey", &["UPDATE attempt SET n = 1 WHERE n = 2"]),
    ("attempt_result_check", &["UPDATE attempt SET result = 'x', closed_at = now() WHERE n = 1"]),
    (
        "attempt_tenant_id_batch_id_fkey",
        &["UPDATE attempt SET batch_id = 99 WHERE n = 1", "UPDATE attempt SET tenant_id = 2 WHERE n = 1"],
    ),
    ("batch_amount_minor_check", &["UPDATE batch SET amount_minor = 0 WHERE id = 1"]),
    ("batch_check", &["UPDATE batch SET payouts = 3 WHERE id = 1"]),
    (
        "batch_check1",
        &[
            "UPDATE batch SET run_id = 2 WHERE id = 2",
            "UPDATE batch SET first_payout_id = 4294967295, payouts = 3 WHERE id = 1",
            "UPDATE batch SET first_payout_id = 8589934591, last_payout_id = 8589934592, payouts = 2 WHERE id = 1",
        ],
    ),
    ("batch_check2", &["UPDATE batch SET first_sent_at = now() WHERE id = 1"]),
    (
        "batch_check3",
        &[
            "UPDATE batch SET state = 'sending', attempt = 1 WHERE id = 1",
            "UPDATE batch SET state = 'accepted', first_sent_at = now() WHERE id = 1",
        ],
    ),
    (
        "batch_check4",
        &["UPDATE batch SET state = 'done' WHERE id = 1", "UPDATE batch SET closed_at = now() WHERE id = 1"],
    ),
    (
        "batch_fixed",
        &[
            "UPDATE batch SET rail = 'x' WHERE id = 1",
            "UPDATE batch SET account = 'x' WHERE id = 1",
            "UPDATE batch SET credential = 'X' WHERE id = 1",
            "UPDATE batch SET currency = 'USD' WHERE id = 1",
            "UPDATE batch SET amount_minor = 1 WHERE id = 1",
            "UPDATE batch SET parent_id = 1 WHERE id = 2",
            "UPDATE batch SET first_payout_id = 4294967297, payouts = 1 WHERE id = 1",
            "UPDATE batch SET last_payout_id = 4294967296, payouts = 1 WHERE id = 1",
        ],
    ),
    ("batch_outcomes_check", &["UPDATE batch SET outcomes = '{}', counted_after = '1' WHERE id = 1"]),
    (
        "batch_counted_after_check",
        &["UPDATE batch SET outcomes = '[]' WHERE id = 1", "UPDATE batch SET counted_after = '1' WHERE id = 1"],
    ),
    ("batch_parent_id_fkey", &["UPDATE batch SET parent_id = 99 WHERE id = 2"]),
    ("batch_lease_length_check", &["UPDATE batch SET lease_length = '-1 second' WHERE id = 2"]),
    ("batch_available_in_check", &["UPDATE batch SET available_in = '-1 second' WHERE id = 2"]),
    ("batch_taken_over_check", &["UPDATE batch SET taken_over = -1 WHERE id = 2"]),
    ("batch_payouts_check", &["UPDATE batch SET payouts = 0, last_payout_id = first_payout_id - 1 WHERE id = 2"]),
    (
        "batch_pkey",
        &["INSERT INTO batch (id, tenant_id, run_id, rail, account, currency, first_payout_id, last_payout_id, payouts,
             amount_minor)
           OVERRIDING SYSTEM VALUE VALUES (1, 2, 3, 'null', 'a', 'EUR', 12884901888, 12884901888, 1, 1)"],
    ),
    ("batch_state_check", &["UPDATE batch SET state = 'x' WHERE id = 1"]),
    ("batch_tenant_id_run_id_fkey", &["UPDATE batch SET tenant_id = 2 WHERE id = 2"]),
    ("affiliate_tenant_id_alike_of_fkey", &["UPDATE affiliate SET alike_of = 0 WHERE id = 2"]),
    (
        "commission_amount_minor_check",
        &[
            "UPDATE commission SET amount_minor = 0 WHERE external_id = 'c1'",
            "UPDATE commission SET amount_minor = 1000000000000001 WHERE external_id = 'c1'",
            "UPDATE commission SET amount_minor = -1000000000000001 WHERE external_id = 'c2'",
        ],
    ),
    ("commission_check", &["UPDATE commission SET earned_at = due_at + interval '1 second' WHERE external_id = 'c1'"]),
    (
        "commission_check1",
        &[
            "UPDATE commission SET amount_minor = -1 WHERE external_id = 'c1'",
            "UPDATE commission SET amount_minor = 1 WHERE external_id = 'c2'",
        ],
    ),
    ("commission_currency_check", &["UPDATE commission SET currency = 'eur' WHERE external_id = 'c1'"]),
    ("commission_external_id_check", &["UPDATE commission SET external_id = '' WHERE external_id = 'c1'"]),
    ("commission_kind_check", &["UPDATE commission SET kind = 'x' WHERE external_id = 'c1'"]),
    ("commission_late_for_check", &["UPDATE commission SET late_for = 1 WHERE external_id = 'c1'"]),
    ("commission_pkey", &["UPDATE commission SET external_id = 'c1' WHERE external_id = 'c2'"]),
    ("contest_open", &["UPDATE contest SET payout_id = 4294967296 WHERE id = 2"]),
    (
        "contest_pkey",
        &["INSERT INTO contest (id, tenant_id, affiliate_id, currency, payout_id) OVERRIDING SYSTEM VALUE
           VALUES (1, 1, 1, 'EUR', 1)"],
    ),
    ("contest_tenant_id_fkey", &["UPDATE contest SET tenant_id = 99 WHERE id = 1"]),
    ("discrepancy_reconciliation_id_fkey", &["UPDATE discrepancy SET reconciliation_id = 99"]),
    ("discrepancy_tenant_id_fkey", &["UPDATE discrepancy SET tenant_id = 99"]),
    (
        "evidence_append_only",
        &["UPDATE evidence SET code = 'x'", "DELETE FROM evidence", "TRUNCATE evidence"],
    ),
    (
        "evidence_check",
        &["INSERT INTO evidence (tenant_id, payout_id, source, says)
           VALUES (1, 1, 'answer', 'accepted')"],
    ),
    (
        "evidence_payout_id_says_reference_code_key",
        &["INSERT INTO evidence (tenant_id, payout_id, source, says, reference)
           VALUES (1, 4294967296, 'lookup', 'paid', 'r')"],
    ),
    (
        "evidence_pkey",
        &["INSERT INTO evidence (id, tenant_id, payout_id, source, says) OVERRIDING SYSTEM VALUE
           VALUES (1, 1, 1, 'answer', 'refused')"],
    ),
    (
        "evidence_says_check",
        &["INSERT INTO evidence (tenant_id, payout_id, source, says) VALUES (1, 1, 'answer', 'x')"],
    ),
    (
        "evidence_source_check",
        &["INSERT INTO evidence (tenant_id, payout_id, source, says)
           VALUES (1, 1, 'x', 'refused')"],
    ),
    (
        "evidence_tenant_id_fkey",
        &["INSERT INTO evidence (tenant_id, payout_id, source, says)
           VALUES (99, 1, 'answer', 'refused')"],
    ),
    ("exclusion_amount_minor_check", &["UPDATE exclusion SET amount_minor = 0 WHERE affiliate_id = 1"]),
    (
        "exclusion_check",
        &[
            "UPDATE exclusion SET amount_minor = -1 WHERE affiliate_id = 1",
            "UPDATE exclusion SET reason = 'negative_balance' WHERE affiliate_id = 1",
        ],
    ),
    ("exclusion_pkey", &["UPDATE exclusion SET affiliate_id = 1 WHERE affiliate_id = 2"]),
    ("exclusion_reason_check", &["UPDATE exclusion SET reason = 'x' WHERE affiliate_id = 1"]),
    (
        "hold_check",
        &[
            "UPDATE hold SET proposal = 'not_paid', resolution = 'evidence', resolved_at = now() WHERE id = 1",
            "UPDATE hold SET proposed_by = 'ann' WHERE id = 1",
        ],
    ),
    (
        "hold_check1",
        &[
            "UPDATE hold SET proposed_reference = 'r' WHERE id = 1",
            "UPDATE hold
                SET proposal = 'paid', proposed_by = 'ann', resolution = 'evidence', resolved_at = now()
              WHERE id = 1",
        ],
    ),
    (
        "hold_check2",
        &["UPDATE hold
              SET proposal = 'not_paid', proposed_by = 'ann', approved_by = 'Ann', resolution = 'evidence',
                resolved_at = now()
            WHERE id = 1"],
    ),
    (
        "hold_check3",
        &["UPDATE hold SET resolution = 'evidence' WHERE id = 1", "UPDATE hold SET resolved_at = now() WHERE id = 1"],
    ),
    (
        "hold_decided",
        &[
            "UPDATE hold SET resolution = 'not_paid', resolved_at = now() WHERE id = 1",
            "UPDATE hold
                SET proposal = 'not_paid', proposed_by = 'ann', resolution = 'not_paid', resolved_at = now()
              WHERE id = 1",
            "UPDATE hold
                SET proposal = 'not_paid', proposed_by = 'ann', approved_by = 'bob', resolution = 'paid',
                  resolved_at = now()
              WHERE id = 1",
        ],
    ),
    ("funding_stop_account_check", &["UPDATE funding_stop SET account = '' WHERE currency = ''"]),
    ("funding_stop_currency_check", &["UPDATE funding_stop SET currency = 'eur' WHERE currency = 'EUR'"]),
    ("funding_stop_pkey", &["INSERT INTO funding_stop (rail, account) VALUES ('null', 'a')"]),
    (
        "funding_stop_probe",
        &[
            "UPDATE funding_stop SET probe_batch = 1 WHERE currency = ''",
            "UPDATE funding_stop SET probe_until = now() WHERE currency = ''",
            "UPDATE funding_stop SET probe_batch = 1, probe_until = now(), stopped_at = NULL WHERE currency = ''",
        ],
    ),
    ("funding_stop_probes_check", &["UPDATE funding_stop SET probes = -1 WHERE currency = ''"]),
    ("funding_stop_rail_check", &["UPDATE funding_stop SET rail = '' WHERE currency = ''"]),
    (
        "funding_stop_reason",
        &[
            "UPDATE funding_stop SET reason = NULL WHERE currency = ''",
            "UPDATE funding_stop SET probe_at = NULL WHERE currency = ''",
        ],
    ),
    ("funding_stop_reason_check", &["UPDATE funding_stop SET reason = 'x' WHERE currency = ''"]),
    ("funding_stop_resumed_by_fkey", &["UPDATE funding_stop SET resumed_by = 99 WHERE currency = ''"]),
    (
        "funding_stop_scope",
        &[
            "UPDATE funding_stop SET reason = 'no_funds' WHERE currency = ''",
            "UPDATE funding_stop SET reason = 'restricted' WHERE currency = 'EUR'",
        ],
    ),
    (
        "funding_stop_window",
        &[
            "UPDATE funding_stop SET window_from = now(), unknown = 1 WHERE currency = ''",
            "UPDATE funding_stop SET window_from = now(), calls = 1, unknown = -1 WHERE currency = ''",
            "UPDATE funding_stop SET calls = 1 WHERE currency = ''",
        ],
    ),
    (
        "generation_append_only",
        &[
            "UPDATE generation SET began_at = now()",
            "DELETE FROM generation WHERE no = 1",
            "TRUNCATE generation CASCADE",
        ],
    ),
    ("generation_key_key", &["INSERT INTO generation (no, key) VALUES (3, md5('2')::uuid)"]),
    (
        "generation_lost_append_only",
        &["UPDATE generation_lost SET recovery_id = 2", "DELETE FROM generation_lost", "TRUNCATE generation_lost"],
    ),
    (
        "generation_lost_pkey",
        &["INSERT INTO generation_lost (key, recovery_id)
           VALUES (md5('9')::uuid, 1), (md5('9')::uuid, 1)"],
    ),
    ("generation_no_check", &["INSERT INTO generation (no, key) VALUES (0, md5('3')::uuid)"]),
    ("generation_pkey", &["INSERT INTO generation (no, key) VALUES (2, md5('3')::uuid)"]),
    ("worker_pkey", &["UPDATE worker SET name = 'w1' WHERE name = 'w2'"]),
    (
        "hold_decided_by_fkey",
        &["UPDATE hold
              SET decided_by = 99, resolution = 'not_paid', resolved_at = now()
            WHERE id = 1"],
    ),
    ("hold_decided_by_key", &["UPDATE hold SET decided_by = 2, resolution = 'not_paid', resolved_at = now()"]),
    (
        "hold_decided_only",
        &[
            "UPDATE hold SET decided_by = 2 WHERE id = 1",
            "UPDATE hold SET decided_by = 2, resolution = 'evidence', resolved_at = now() WHERE id = 1",
        ],
    ),
    ("hold_no_names", &["UPDATE hold SET proposal = 'not_paid', proposed_by = 'ann' WHERE id = 1"]),
    ("hold_open", &["UPDATE hold SET payout_id = 4294967296 WHERE id = 2"]),
    (
        "hold_pkey",
        &["INSERT INTO hold (id, tenant_id, run_id, payout_id, reason) OVERRIDING SYSTEM VALUE
           VALUES (1, 1, 1, 1, 'r')"],
    ),
    (
        "hold_proposal_check",
        &["UPDATE hold
              SET proposal = 'x', proposed_by = 'ann', resolution = 'evidence', resolved_at = now()
            WHERE id = 1"],
    ),
    ("control_of_affiliate", &["INSERT INTO control (tenant_id, affiliate_id, reason) VALUES (1, 1, 'r')"]),
    (
        "control_of_one",
        &["UPDATE control SET affiliate_id = NULL WHERE id = 1", "UPDATE control SET payout_id = 1 WHERE id = 1"],
    ),
    ("control_of_payout", &["UPDATE control SET payout_id = 4294967296 WHERE id = 3"]),
    (
        "control_pkey",
        &["INSERT INTO control (id, tenant_id, payout_id, reason) OVERRIDING SYSTEM VALUE
           VALUES (1, 1, 4294967298, 'r')"],
    ),
    (
        "control_reason_check",
        &["UPDATE control SET reason = '' WHERE id = 1", "UPDATE control SET reason = ' r' WHERE id = 1"],
    ),
    ("control_tenant_id_affiliate_id_fkey", &["UPDATE control SET affiliate_id = 9 WHERE id = 1"]),
    ("control_tenant_id_fkey", &["UPDATE control SET tenant_id = 9 WHERE id = 2"]),
    ("batch_stop_calls_check", &["UPDATE batch SET stop_calls = -1 WHERE id = 1"]),
    ("batch_stop_seen_check", &["UPDATE batch SET stop_seen = -1 WHERE id = 1"]),
    ("batch_stop_unsent_check", &["UPDATE batch SET stop_unsent = -1 WHERE id = 1"]),
    ("run_stop_no_check", &["UPDATE run SET stop_no = -1 WHERE id = 1"]),
    ("hold_resolution_check", &["UPDATE hold SET resolution = 'x', resolved_at = now() WHERE id = 1"]),
    ("hold_tenant_id_fkey", &["UPDATE hold SET tenant_id = 99 WHERE id = 1"]),
    ("listed_by_file_block_check", &["UPDATE listed_by_file SET block = -1 WHERE block = 1"]),
    ("listed_by_file_pkey", &["UPDATE listed_by_file SET block = 0 WHERE block = 1"]),
    ("listed_block_check", &["UPDATE listed SET block = -1 WHERE block = 1"]),
    ("listed_pkey", &["UPDATE listed SET block = 0 WHERE block = 1"]),
    ("movement_amount_minor_check", &[movement!("('returned', 'r', 'p', -1, 2, 'answer', true, 1)")]),
    ("movement_append_only", &["DELETE FROM movement", "TRUNCATE movement"]),
    (
        "movement_check",
        &[
            movement!("('paid', 'r', NULL, 1, 0, 'file', false, 1)"),
            movement!("('returned', 'r', 'p', 1, 0, 'statement', false, 1)"),
        ],
    ),
    (
        "movement_check1",
        &[
            movement!("('paid', 'r', NULL, 1, 1, 'answer', true, 1)"),
            movement!("('paid', 'r', 'p', 1, 0, 'answer', true, 1)"),
        ],
    ),
    ("movement_check2", &[movement!("('paid', 'r', NULL, 0, 0, 'answer', true, 1)")]),
    ("movement_fee_minor_check", &[movement!("('returned', 'r', 'p', 2, -1, 'answer', true, 1)")]),
    ("movement_kind_check", &[movement!("('x', 'r', NULL, 1, 0, 'answer', true, 1)")]),
    ("movement_line_id_fkey", &[movement!("('paid', 'r', NULL, 1, 0, 'answer', true, 99)")]),
    (
        "movement_each",
        &[
            "INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
             VALUES (1, 4294967296, 'paid', 'r2', 100, 'EUR', 'lookup')",
            "INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source, line_id)
             VALUES (1, 4294967296, 'returned', 'r3', 100, 'EUR', 'file', 2)",
        ],
    ),
    (
        "movement_pkey",
        &["INSERT INTO movement (id, tenant_id, payout_id, kind, reference, amount_minor, currency, source)
           OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, 'paid', 'r', 1, 'EUR', 'answer')"],
    ),
    ("movement_reference_check", &[movement!("('paid', '', NULL, 1, 0, 'answer', true, 1)")]),
    ("movement_source_check", &[movement!("('paid', 'r', NULL, 1, 0, 'x', true, 1)")]),
    (
        "movement_tenant_id_fkey",
        &["INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
           VALUES (99, 1, 'paid', 'r', 1, 'EUR', 'answer')"],
    ),
    (
        // Only one thing ever changes: that a return counts.
        "movement_unchanged",
        &[
            "UPDATE movement SET seen_at = now() WHERE id = 1",
            "UPDATE movement SET counts = true WHERE id = 1",
            "UPDATE movement SET counts = false WHERE id = 2",
            "UPDATE movement SET counts = false WHERE id = 3",
            "UPDATE movement SET counts = true, amount_minor = 99 WHERE id = 2",
            "UPDATE movement SET counts = true, reference = 'r5' WHERE id = 2",
        ],
    ),
    (
        "payout_fixed",
        &[
            "UPDATE payout SET id = 4294967298 WHERE id = 4294967297",
            "UPDATE payout SET affiliate_id = 3 WHERE id = 4294967297",
            "UPDATE payout SET method_id = 2 WHERE id = 4294967297",
            "UPDATE payout SET tenant_id = 2 WHERE id = 4294967297",
            "UPDATE payout SET currency = 'USD' WHERE id = 4294967297",
            "UPDATE payout SET amount_minor = 101 WHERE id = 4294967297",
            "UPDATE payout SET carried_minor = 1 WHERE id = 4294967297",
            "UPDATE payout SET pays_minor = 1, pays_currency = 'USD' WHERE id = 4294967297",
        ],
    ),
    (
        "payout_pays_check",
        &[
            "UPDATE payout SET pays_minor = 1 WHERE id = 4294967296",
            "UPDATE payout SET pays_currency = 'USD' WHERE id = 4294967296",
            "UPDATE payout SET pays_minor = 0, pays_currency = 'USD' WHERE id = 4294967296",
            "UPDATE payout SET pays_minor = 1, pays_currency = 'usd' WHERE id = 4294967296",
            "UPDATE payout SET pays_minor = 1, pays_currency = 'EUR' WHERE id = 4294967296",
        ],
    ),
    ("notice_account_check", &[notice!("('paypal', '', 'e3', 'k', sha256('3'), 'x')")]),
    ("notice_append_only", &["UPDATE notice SET body = 'y' WHERE event = 'e1'"]),
    (
        "notice_body_check",
        &["INSERT INTO notice (rail, account, event, kind, signed, body)
           VALUES ('paypal', 'a', 'e3', 'k', sha256('3'), repeat('x', 1048577)::bytea)"],
    ),
    ("notice_event_check", &[notice!("('paypal', 'a', '', 'k', sha256('3'), 'x')")]),
    ("notice_kind_check", &[notice!("('paypal', 'a', 'e3', '', sha256('3'), 'x')")]),
    ("notice_pkey", &[notice!("('paypal', 'a', 'e1', 'k', sha256('3'), 'x')")]),
    ("notice_rail_check", &[notice!("('', 'a', 'e3', 'k', sha256('3'), 'x')")]),
    ("notice_signed_check", &[notice!("('paypal', 'a', 'e3', 'k', 'short', 'x')")]),
    ("notice_signed_once", &[notice!("('paypal', 'a', 'e3', 'k', sha256('1'), 'x')")]),
    ("payout_limit_check", &["UPDATE payout_limit SET min_minor = 2, max_minor = 1"]),
    ("payout_limit_check1", &["UPDATE payout_limit SET max_minor = NULL"]),
    ("payout_limit_currency_check", &["UPDATE payout_limit SET currency = 'eur'"]),
    ("payout_limit_method_check", &["UPDATE payout_limit SET method = 'PayPal'"]),
    ("payout_limit_min_minor_check", &["UPDATE payout_limit SET min_minor = 0"]),
    ("payout_limit_pkey", &["INSERT INTO payout_limit SELECT * FROM payout_limit"]),
    ("payout_limit_tenant_id_affiliate_id_fkey", &["UPDATE payout_limit SET tenant_id = 2"]),
    ("payout_amount_minor_check", &["UPDATE payout SET amount_minor = 0 WHERE id = 4294967296"]),
    ("payout_check", &["UPDATE payout SET run_id = 2 WHERE id = 4294967296"]),
    (
        "payout_check1",
        &[
            "UPDATE payout SET state = 'accepted' WHERE id = 4294967296",
            "UPDATE payout SET state = 'paid', settled_at = now() WHERE id = 4294967296",
        ],
    ),
    (
        "payout_check2",
        &[
            "UPDATE payout SET reference = 'r' WHERE id = 4294967296",
            "UPDATE payout SET state = 'refused', code = 'c', reference = 'r' WHERE id = 4294967296",
        ],
    ),
    (
        "payout_check3",
        &[
            "UPDATE payout SET code = 'c' WHERE id = 4294967296",
            "UPDATE payout SET state = 'refused' WHERE id = 4294967296",
        ],
    ),
    (
        "payout_check4",
        &[
            "UPDATE payout SET settled_at = now() WHERE id = 4294967296",
            "UPDATE payout SET state = 'paid', reference = 'r' WHERE id = 4294967296",
        ],
    ),
    (
        "payout_method_destination_check",
        &[
            "UPDATE payout_method SET destination = 'x ' WHERE id = 1",
            "UPDATE payout_method SET destination = '' WHERE id = 1",
        ],
    ),
    ("payout_method_live", &["UPDATE payout_method SET priority = 0 WHERE id = 2"]),
    ("payout_method_method_check", &["UPDATE payout_method SET method = 'PayPal' WHERE id = 1"]),
    (
        "payout_method_fixed",
        &[
            "UPDATE payout_method SET affiliate_id = 2 WHERE id = 1",
            "UPDATE payout_method SET method = 'wise' WHERE id = 1",
            "UPDATE payout_method SET destination = 'z' WHERE id = 1",
        ],
    ),
    (
        "payout_method_limits_moved",
        &[
            "UPDATE payout_method SET min_minor = 1 WHERE id = 1",
            "UPDATE payout_method SET max_minor = 1 WHERE id = 1",
        ],
    ),
    (
        "payout_method_once",
        &[
            "UPDATE payout_method SET method = 'paypal', destination = 'x' WHERE id = 2",
            "UPDATE payout_method SET method = 'paypal', destination = 'X', compared = 'x' WHERE id = 2",
        ],
    ),
    ("payout_method_compared_check", &["UPDATE payout_method SET compared = '' WHERE id = 1"]),
    ("payout_method_unusable", &["UPDATE payout_method SET unusable_code = 'account_closed' WHERE id = 1"]),
    (
        "payout_method_pkey",
        &["INSERT INTO payout_method (id, tenant_id, affiliate_id, method, destination) OVERRIDING SYSTEM VALUE
           VALUES (1, 1, 2, 'sepa', 'z')"],
    ),
    ("payout_method_tenant_id_affiliate_id_fkey", &["UPDATE payout_method SET tenant_id = 2 WHERE id = 1"]),
    ("payout_pkey", &["UPDATE payout SET id = 4294967296 WHERE id = 4294967297"]),
    ("payout_run_id_affiliate_id_currency_key", &["UPDATE payout SET affiliate_id = 1 WHERE id = 4294967297"]),
    ("payout_state_check", &["UPDATE payout SET state = 'x' WHERE id = 4294967296"]),
    (
        "person_name_check",
        &["UPDATE person SET name = ' Ann' WHERE id = 1", "UPDATE person SET name = '' WHERE id = 1"],
    ),
    (
        "person_name_key_check",
        &["UPDATE person SET name_key = ' ann' WHERE id = 1", "UPDATE person SET name_key = '' WHERE id = 1"],
    ),
    ("person_name_key_key", &["UPDATE person SET name_key = 'ann' WHERE id = 2"]),
    (
        "person_pkey",
        &["INSERT INTO person (id, name, name_key, role, token_hash) OVERRIDING SYSTEM VALUE
           VALUES (1, 'c', 'c', 'viewer', sha256('c'))"],
    ),
    ("person_role_check", &["UPDATE person SET role = 'x' WHERE id = 1"]),
    ("person_tenant_id_fkey", &["UPDATE person SET tenant_id = 99 WHERE id = 1"]),
    ("person_token_hash_check", &["UPDATE person SET token_hash = 'short' WHERE id = 1"]),
    ("person_token_hash_key", &["UPDATE person SET token_hash = sha256('a') WHERE id = 2"]),
    ("plan_chunk_accounts_check", &["UPDATE plan_chunk SET accounts = -1 WHERE n = 2"]),
    ("plan_chunk_check", &["UPDATE plan_chunk SET up_to = after_affiliate WHERE n = 2"]),
    (
        "plan_chunk_first_place_check",
        &[
            "UPDATE plan_chunk SET first_place = -1 WHERE n = 2",
            "UPDATE plan_chunk SET first_place = 4294967296 WHERE n = 2",
        ],
    ),
    ("plan_chunk_n_check", &["UPDATE plan_chunk SET n = 0 WHERE n = 2"]),
    ("plan_chunk_pkey", &["UPDATE plan_chunk SET n = 1 WHERE n = 2"]),
    ("plan_chunk_run_id_after_affiliate_key", &["UPDATE plan_chunk SET after_affiliate = 0 WHERE n = 2"]),
    ("plan_chunk_tenant_id_run_id_fkey", &["UPDATE plan_chunk SET tenant_id = 2 WHERE n = 2"]),
    (
        "recovery_decided",
        // It ends with a generation, by what two people said, and not without either.
        &[
            "UPDATE recovery SET closed_at = now() WHERE id = 2",
            "UPDATE recovery SET decided_by = NULL WHERE id = 1",
            "UPDATE recovery SET generation = NULL WHERE id = 1",
        ],
    ),
    ("recovery_decided_by_fkey", &["UPDATE recovery SET decided_by = 99 WHERE id = 1"]),
    (
        "recovery_decided_by_key",
        &["UPDATE recovery SET closed_at = now(), generation = 1, decided_by = 2 WHERE id = 2"],
    ),
    ("recovery_doubts_first", &["UPDATE recovery SET doubted_at = NULL WHERE id = 1"]),
    ("recovery_generation_fkey", &["UPDATE recovery SET generation = 99 WHERE id = 1"]),
    (
        "recovery_generation_key",
        &["UPDATE recovery SET closed_at = now(), generation = 2, decided_by = 1 WHERE id = 2"],
    ),
    ("recovery_open", &["INSERT INTO recovery (found_by, words) VALUES ('p', 'w')"]),
    (
        "recovery_pkey",
        &["INSERT INTO recovery (id, found_by, words, doubted_at, closed_at, generation, decided_by)
           OVERRIDING SYSTEM VALUE VALUES (1, 'p', 'w', now(), now(), 1, 1)"],
    ),
    ("rail_account_account_check", &["UPDATE rail_account SET account = '' WHERE id = 2"]),
    (
        "rail_account_pkey",
        &["INSERT INTO rail_account (id, rail, account) OVERRIDING SYSTEM VALUE
           VALUES (1, 'null', 'c')"],
    ),
    ("rail_account_rail_account_key", &["UPDATE rail_account SET account = 'a' WHERE id = 2"]),
    (
        "reconciliation_pkey",
        &["INSERT INTO reconciliation (id, tenant_id, run_id, statement, lines, discrepancies)
           OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, 's', 1, 1)"],
    ),
    ("reconciliation_tenant_id_run_id_fkey", &["UPDATE reconciliation SET tenant_id = 2"]),
    ("run_check", &["UPDATE run SET opens_after = '2026-01-01Z' WHERE id = 3"]),
    ("run_check1", &["UPDATE run SET cutoff = '2026-01-15Z' WHERE id = 2"]),
    (
        "run_check2",
        &["UPDATE run SET paused_at = now() WHERE id = 1", "UPDATE run SET pause_reason = 'r' WHERE id = 1"],
    ),
    (
        "run_check3",
        &["UPDATE run SET state = 'planned' WHERE id = 1", "UPDATE run SET planned_at = now() WHERE id = 1"],
    ),
    ("run_check4", &["UPDATE run SET state = 'paying', planned_at = now() WHERE id = 1"]),
    ("run_check5", &["UPDATE run SET state = 'settled', planned_at = now(), paying_at = now() WHERE id = 1"]),
    (
        "run_check6",
        &[
            "UPDATE run SET reconciled_at = now() WHERE id = 1",
            "UPDATE run SET state = 'reconciled', planned_at = now(), paying_at = now(), settled_at = now(),
                            verdict = 'reconciled', judged_at = now() WHERE id = 1",
        ],
    ),
    (
        "run_check7",
        &["UPDATE run SET verdict = 'reconciled' WHERE id = 1", "UPDATE run SET judged_at = now() WHERE id = 1"],
    ),
    (
        "run_check8",
        &[
            "UPDATE run SET state = 'reconciled', planned_at = now(), paying_at = now(), settled_at = now(),
                            reconciled_at = now() WHERE id = 1",
            "UPDATE run SET state = 'reconciled', planned_at = now(), paying_at = now(), settled_at = now(),
                            reconciled_at = now(), verdict = 'discrepant', judged_at = now() WHERE id = 1",
        ],
    ),
    (
        "run_fixed",
        &[
            "UPDATE run SET key = gen_random_uuid() WHERE id = 1",
            "UPDATE run SET period = '2026-05' WHERE id = 1",
            "UPDATE run SET sequence = 2 WHERE id = 1",
            "UPDATE run SET minimum = 2 WHERE id = 1",
            "UPDATE run SET cutoff = '2026-02-02Z' WHERE id = 3",
        ],
    ),
    ("run_key_key", &["UPDATE run SET key = (SELECT key FROM run WHERE id = 1) WHERE id = 3"]),
    ("run_minimum_check", &["UPDATE run SET minimum = -1 WHERE id = 1"]),
    (
        "run_payouts_check",
        &["UPDATE run SET payouts = -1 WHERE id = 1", "UPDATE run SET payouts = 4294967296 WHERE id = 1"],
    ),
    ("run_period_check", &["UPDATE run SET period = '2026-1' WHERE id = 1"]),
    (
        "run_pkey",
        &["INSERT INTO run (id, tenant_id, period, sequence, ordinal, opens_after, cutoff, minimum)
           OVERRIDING SYSTEM VALUE VALUES (3, 1, '2026-03', 1, 3, '2026-03-01Z', '2026-04-01Z', 1)"],
    ),
    ("run_plan_accounts_check", &["UPDATE run_plan SET accounts = 0"]),
    ("run_plan_pkey", &["INSERT INTO run_plan SELECT * FROM run_plan"]),
    ("run_plan_run_id_chunk_fkey", &["UPDATE run_plan SET chunk = 3", "UPDATE run_plan SET run_id = 2"]),
    ("run_sequence_check", &["UPDATE run SET sequence = 0 WHERE id = 1"]),
    ("run_state_check", &["UPDATE run SET state = 'x', planned_at = now(), paying_at = now() WHERE id = 1"]),
    ("run_tenant_id_fkey", &["UPDATE run SET tenant_id = 99 WHERE id = 3"]),
    (
        "run_tenant_id_ordinal_key",
        &["INSERT INTO run (tenant_id, period, sequence, ordinal, opens_after, cutoff, minimum)
           VALUES (1, '2026-05', 1, 2, '2026-02-01Z', '2026-06-01Z', 1)"],
    ),
    ("run_tenant_id_period_sequence_key", &["UPDATE run SET period = '2026-01' WHERE id = 2"]),
    ("run_tenant_id_previous_opens_after_fkey", &["UPDATE run SET opens_after = '2026-02-02Z' WHERE id = 2"]),
    ("run_verdict_check", &["UPDATE run SET verdict = 'x', judged_at = now() WHERE id = 1"]),
    ("statement_line_account_id_content_source_key", &[line!("(1, md5('1')::uuid, 'paid', 'file')")]),
    ("statement_line_account_id_fkey", &[line!("(99, md5('1')::uuid, 'paid', 'file')")]),
    (
        // A movement may come of a line (foreign key), so that nothing truncates lines without movements.
        "statement_line_append_only",
        &["UPDATE statement_line SET key = 'k2'", "DELETE FROM statement_line WHERE id = 2"],
    ),
    ("statement_line_kind_check", &[line!("(1, md5('1')::uuid, 'x', 'rail')")]),
    (
        "statement_line_pkey",
        &["INSERT INTO statement_line (id, account_id, content, kind, key, reference, amount_minor, currency,
             destination, source)
           OVERRIDING SYSTEM VALUE VALUES (1, 1, md5('1')::uuid, 'paid', 'k', 'r', 100, 'EUR', 'x', 'rail')"],
    ),
    ("statement_line_source_check", &[line!("(1, md5('1')::uuid, 'paid', 'x')")]),
    ("statement_part_account_id_fkey", &[part!("(99, 'rail', 'p', sha256('q'), 1, NULL, NULL)")]),
    (
        "statement_line_named_append_only",
        &[
            "UPDATE statement_line_named SET payout_id = 1",
            "DELETE FROM statement_line_named",
            "TRUNCATE statement_line_named",
        ],
    ),
    (
        "statement_line_named_line_id_fkey",
        &["INSERT INTO statement_line_named (line_id, payout_id) VALUES (99, 4294967296)"],
    ),
    (
        "statement_line_named_pkey",
        &["INSERT INTO statement_line_named (line_id, payout_id) VALUES (3, 4294967297)"],
    ),
    (
        "statement_part_append_only",
        &["UPDATE statement_part SET lines = 2", "DELETE FROM statement_part", "TRUNCATE statement_part"],
    ),
    ("tenant_account_pkey", &["INSERT INTO tenant_account VALUES (1, 'null', 'a')"]),
    (
        "stray_booked_append_only",
        &["DELETE FROM stray_booked", "UPDATE stray_booked SET control_id = 2 WHERE line_id = 1"],
    ),
    ("stray_booked_control_id_fkey", &["INSERT INTO stray_booked VALUES (1, 2, 1, 99)"]),
    ("stray_booked_line_id_fkey", &["INSERT INTO stray_booked VALUES (99, 1, 1, 1)"]),
    ("stray_booked_pkey", &["INSERT INTO stray_booked VALUES (1, 1, 1, 1)"]),
    ("stray_booked_tenant_id_affiliate_id_fkey", &["INSERT INTO stray_booked VALUES (1, 9, 1, 1)"]),
    ("statement_part_check", &[part!("(1, 'rail', 'p', sha256('q'), 1, '2026-02-02Z', '2026-02-01Z')")]),
    ("statement_part_digest_check", &[part!("(1, 'rail', 'p', 'short', 1, NULL, NULL)")]),
    ("statement_part_lines_check", &[part!("(1, 'rail', 'p', sha256('q'), -1, NULL, NULL)")]),
    (
        "statement_part_pkey",
        &["INSERT INTO statement_part (id, account_id, source, name, digest, lines)
           OVERRIDING SYSTEM VALUE VALUES (1, 1, 'rail', 'p', sha256('q'), 1)"],
    ),
    ("statement_part_source_check", &[part!("(1, 'x', 'p', sha256('q'), 1, NULL, NULL)")]),
    ("tenant_hold_days_check", &["UPDATE tenant SET hold_days = -1", "UPDATE tenant SET hold_days = 366"]),
    ("tenant_method_kind_check", &["UPDATE tenant_method SET kind = 'e-mail'"]),
    ("tenant_method_method_check", &["UPDATE tenant_method SET method = 'PayPal'"]),
    ("tenant_method_pkey", &["INSERT INTO tenant_method SELECT * FROM tenant_method"]),
    ("tenant_method_tenant_id_fkey", &["UPDATE tenant_method SET tenant_id = 99"]),
    ("tenant_name_check", &["UPDATE tenant SET name = 'T' WHERE id = 1"]),
    ("tenant_name_key", &["UPDATE tenant SET name = 't' WHERE id = 2"]),
    ("tenant_pkey", &["INSERT INTO tenant (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'v')"]),
    ("tenant_rail_account_check", &["UPDATE tenant_rail SET account = ''"]),
    ("tenant_rail_credential_check", &["UPDATE tenant_rail SET credential = 'a value, not a name'"]),
    ("tenant_rail_method_check", &["UPDATE tenant_rail SET method = 'PayPal'"]),
    ("tenant_rail_pkey", &["INSERT INTO tenant_rail SELECT * FROM tenant_rail"]),
    ("tenant_rail_tenant_id_fkey", &["UPDATE tenant_rail SET tenant_id = 99"]),
    ("tenant_volume_currency_check", &["UPDATE tenant_volume SET currency = 'eur'"]),
    ("tenant_volume_gross_minor_check", &["UPDATE tenant_volume SET gross_minor = 0"]),
    ("tenant_volume_pkey", &["INSERT INTO tenant_volume SELECT * FROM tenant_volume"]),
    ("tenant_volume_tenant_id_fkey", &["UPDATE tenant_volume SET tenant_id = 99"]),
    (
        "transfer_amount_minor_check",
        &["INSERT INTO transfer (payout_id, amount_minor, tenant_id, kind, currency) VALUES (1, 0, 1, 0, 'EUR')"],
    ),
    ("transfer_append_only", &["UPDATE transfer SET amount_minor = 1", "DELETE FROM transfer", "TRUNCATE transfer"]),
    (
        "transfer_due_in_check",
        // No run before the second can count what was released, and what is reserved or settled changes no balance
        // outside of plans.
        &[transfer!("(3, 1)"), transfer!("(0, 2)"), transfer!("(2, 2)")],
    ),
    ("transfer_kind_check", &["UPDATE transfer_kind SET credit = debit WHERE kind = 0"]),
    ("transfer_kind_known", &[transfer!("(1, NULL::int)"), transfer!("(14, NULL::int)"), transfer!("(34, NULL::int)")]),
    ("transfer_kind_name_key", &["UPDATE transfer_kind SET name = 'settle' WHERE kind = 0"]),
    ("transfer_kind_pkey", &["UPDATE transfer_kind SET kind = 2 WHERE kind = 0"]),
    (
        "transfer_step",
        &[
            "INSERT INTO transfer (payout_id, amount_minor, tenant_id, kind, currency)
             VALUES (4294967296, 1, 1, 2, 'EUR')",
            "INSERT INTO transfer (payout_id, amount_minor, tenant_id, kind, currency)
             VALUES (4294967296, 1, 1, 3, 'EUR')",
            transfer!("(6, 2), (6, 3)"),
        ],
    ),
    (
        "word_alone",
        &[
            word!("(1, 'person', 1, 'add', '', 'proposes', NULL, NULL)"),
            word!("(1, 'hold', 2, 'not_paid', '', 'alone', NULL, NULL)"),
        ],
    ),
    (
        "word_answers",
        &[
            word!("(2, 'hold', 2, 'not_paid', '', 'agrees', NULL, NULL)"),
            word!("(2, 'hold', 2, 'not_paid', '', 'proposes', 3, 1)"),
        ],
    ),
    (
        "word_answers_fkey",
        &[
            word!("(2, 'hold', 1, 'not_paid', '', 'agrees', 3, 1)"),
            word!("(1, 'hold', 2, 'not_paid', '', 'agrees', 3, 2)"),
        ],
    ),
    ("word_answers_key", &[word!("(2, 'hold', 1, 'not_paid', '', 'agrees', 1, 1)")]),
    (
        "word_answers_somebody",
        &[
            word!("(2, 'hold', 2, 'not_paid', '', 'agrees', 3, NULL)"),
            word!("(2, 'hold', 2, 'not_paid', '', 'proposes', NULL, 1)"),
        ],
    ),
    ("word_append_only", &["UPDATE word SET at = now()", "DELETE FROM word WHERE id = 3", "TRUNCATE word CASCADE"]),
    ("word_effect_check", &[word!("(1, 'hold', 2, 'not_paid', '', 'x', NULL, NULL)")]),
    (
        "word_known",
        &[
            word!("(1, 'hold', 2, 'confirm', '', 'proposes', NULL, NULL)"),
            word!("(1, 'x', 2, 'not_paid', '', 'proposes', NULL, NULL)"),
        ],
    ),
    ("word_of_two", &[word!("(1, 'hold', 2, 'not_paid', '', 'agrees', 3, 1)")]),
    ("word_person_id_fkey", &[word!("(99, 'hold', 2, 'not_paid', '', 'proposes', NULL, NULL)")]),
    (
        "word_pkey",
        &["INSERT INTO word (id, person_id, subject, subject_id, says, effect) OVERRIDING SYSTEM VALUE
           VALUES (1, 2, 'hold', 2, 'not_paid', 'proposes')"],
    ),
    (
        "word_refers",
        &[
            word!("(1, 'hold', 2, 'paid', '', 'proposes', NULL, NULL)"),
            word!("(1, 'hold', 2, 'not_paid', 'r', 'proposes', NULL, NULL)"),
        ],
    ),
    (
        "uncounted_move_pkey",
        &["INSERT INTO uncounted_move (xid) SELECT xid FROM (VALUES ('1'::xid8), ('1')) AS twice (xid)"],
    ),
    (
        "word_tenant_id_fkey",
        &["INSERT INTO word (person_id, tenant_id, subject, subject_id, says, effect)
           VALUES (1, 99, 'hold', 2, 'not_paid', 'proposes')"],
    ),
];

/// What cannot be broken alone, and why it is there.
pub const IMPLIED: &[(&str, &str)] = &[
    ("affiliate_tenant_id_id_key", "the id alone is unique; this is what foreign keys with the tenant refer to"),
    ("batch_tenant_id_id_key", "as for affiliates"),
    ("word_id_person_id_subject_subject_id_key", "the id alone is unique; this is what an answer refers to"),
    ("run_tenant_id_id_key", "as for affiliates"),
    ("run_tenant_id_ordinal_cutoff_key", "the ordinal alone is unique; this is what the chain of windows refers to"),
    ("payout_method_check", "no limit is written into that table any more (payout_method_limits_moved)"),
    ("payout_method_min_minor_check", "as the one before"),
    ("payout_moved_uncounted", "refuses nothing: it writes down that payouts were moved and not counted"),
    ("tenant_rail_noted", "refuses nothing: it writes down from where a tenant was paid"),
    ("run_ordinal_check", "a run before the first would need one before itself to open where that ended (foreign key)"),
];

/// Everything else is NOT NULL.
pub const MAY_BE_NULL: &str = "
  tenant_account.credential tenant_account.left_at affiliate.alike_of affiliate.id_key alarm.payout_id
  attempt.closed_at attempt.result batch.available_in
  funding_stop.probe_at funding_stop.probe_batch funding_stop.probe_until funding_stop.reason
  funding_stop.resumed_at funding_stop.resumed_by funding_stop.stopped_at funding_stop.window_from
  payout.pays_minor payout.pays_currency batch.outcomes batch.counted_after batch.closed_at batch.credential
  batch.first_sent_at batch.last_code batch.lease_length batch.lease_owner
  batch.parent_id commission.id_key commission.late_for commission.takes_back discrepancy.affiliate discrepancy.currency
  discrepancy.expected discrepancy.found discrepancy.payout_id evidence.attempt evidence.batch_id hold.approved_by
  hold.proposal hold.proposed_by hold.proposed_reference hold.resolution hold.resolved_at payout.code payout.reference
  payout.settled_at payout_limit.max_minor payout_limit.min_minor payout_method.compared payout_method.max_minor
  payout_method.min_minor payout_method.retired_at payout_method.unusable_code run.opens_after run.pause_reason
  run.paused_at run.paying_at run.planned_at run.previous run.reconciled_at run.settled_at tenant_rail.credential
  hold.decided_by person.revoked_at person.tenant_id word.answered_by word.answers word.tenant_id contest.closed_at
  control.affiliate_id control.lifted_at control.payout_id hold.note movement.at movement.line_id
  movement.of_reference rail_account.asked_in rail_account.file_asked_in rail_account.read_at recovery.closed_at
  recovery.decided_by recovery.doubted_at recovery.generation run.judged_at run.verdict statement_line.at
  statement_line.of_reference statement_line.payout_id statement_line.run_id statement_part.from_at
  statement_part.person_id statement_part.until_at transfer.due_in worker.trouble";
