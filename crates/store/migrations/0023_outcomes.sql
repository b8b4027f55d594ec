-- What became of a batch's payouts is counted by the transactions that move them, so that nobody who looks reads each.

ALTER TABLE batch
  -- [{"state": "paid", "payouts": 499, "minor": 123456}, ...]: how many of its payouts are in which state, and their
  -- sum in minor units. NULL: nobody has counted. Of a batch that was split its parts say it.
  ADD COLUMN outcomes jsonb CONSTRAINT batch_outcomes_check CHECK (jsonb_typeof(outcomes) = 'array'),
  -- Every transaction before this one had ended when they were counted.
  ADD COLUMN counted_after xid8,
  ADD CONSTRAINT batch_counted_after_check CHECK ((outcomes IS NULL) = (counted_after IS NULL));

-- Transactions that moved payouts without counting them: of programs from before this, and of whoever changes rows by
-- hand. Which batches they were of is not known, so no count that is not certainly newer is believed (see below), and the
-- fleet counts again when they have ended. Programs that count say so of their sessions.
CREATE TABLE uncounted_move (
  xid xid8 PRIMARY KEY,
  at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION note_uncounted_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO uncounted_move (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
-- For the statement and without the rows that it changed: to hand those to a trigger would cost each payout a tenth of
-- what it costs to settle it.
CREATE TRIGGER payout_moved_uncounted BEFORE UPDATE OR DELETE ON payout FOR EACH STATEMENT
  WHEN (current_setting('payfleet.counts_outcomes', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION note_uncounted_move();

-- Batches that have payouts, and whether what is kept of them is so. Numbers of transactions that are still to come are
-- those of another cluster, from which this database was copied.
CREATE VIEW batch_counted AS
  SELECT b.id AS batch_id, b.run_id, b.currency, b.first_payout_id, b.last_payout_id, b.outcomes,
         coalesce(b.counted_after <= pg_snapshot_xmax(pg_current_snapshot())
           AND b.counted_after > coalesce((SELECT u.xid FROM uncounted_move u
                                            WHERE u.xid <= pg_snapshot_xmax(pg_current_snapshot())
                                            ORDER BY u.xid DESC LIMIT 1), '0'), false) AS is_kept
    FROM batch b WHERE b.state <> 'split';

-- What became of the payouts of each batch: as it is kept, or else by reading them.
CREATE VIEW batch_outcome AS
  SELECT b.batch_id, b.run_id, b.currency, o.state, o.payouts, o.minor
    FROM batch_counted b CROSS JOIN LATERAL (
           SELECT k.state, k.payouts, k.minor
             FROM jsonb_to_recordset(b.outcomes) AS k (state text, payouts bigint, minor numeric) WHERE b.is_kept
           UNION ALL
           SELECT p.state, count(*), sum(p.amount_minor) FROM payout p
            WHERE NOT b.is_kept AND p.id BETWEEN b.first_payout_id AND b.last_payout_id GROUP BY p.state) AS o;
