-- What people ask at night: who works and with what, what became of a run's payouts, and which batches were taken over.

-- What each worker says of itself, every few seconds. A screen explains by it why work waits; nothing is decided by it, and a row that is too old says
-- nothing. In Postgres, since Redis may be what is away.
CREATE TABLE worker (
  name       text PRIMARY KEY,
  version    text NOT NULL,
  started_at timestamptz NOT NULL,
  seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- It takes no new work.
  is_ending  boolean NOT NULL,
  -- Which rails it can call.
  rails      text[] NOT NULL,
  -- Names of credentials that tenants and batches use on those rails, and that it cannot read.
  lacks      text[] NOT NULL,
  -- Where it has lately waited for the rate at which an account takes calls: RAIL/ACCOUNT.
  paced      text[] NOT NULL,
  -- Why it is not ready, if so.
  trouble    text
) WITH (fillfactor = 50);

-- How often a lease of the batch ended without its worker giving it back, and another took it.
ALTER TABLE batch ADD COLUMN taken_over int NOT NULL DEFAULT 0 CHECK (taken_over >= 0);

-- How many payouts of a run came into a state, or left it (below zero), with each statement that moved some: a plan's payouts begin as `planned`, which
-- run_plan counts. The sum is what became of the run, however many payouts it has. Only added to, so that nobody waits for anybody.
CREATE TABLE outcome_change (
  run_id       bigint NOT NULL,
  tenant_id    int NOT NULL,
  currency     char(3) NOT NULL,
  state        text NOT NULL,
  payouts      bigint NOT NULL,
  amount_minor numeric NOT NULL,
  CHECK (payouts <> 0 OR amount_minor <> 0)
);
CREATE INDEX outcome_change_of ON outcome_change (run_id);
CREATE TRIGGER outcome_change_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outcome_change
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION payout_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO outcome_change (run_id, tenant_id, currency, state, payouts, amount_minor)
  SELECT run_id, tenant_id, currency, state, sum(n), sum(n * amount_minor::numeric)
    FROM (SELECT run_id, tenant_id, currency, state, amount_minor, -1 AS n FROM stood
           UNION ALL
          SELECT run_id, tenant_id, currency, state, amount_minor, 1 FROM stands) AS moved
   GROUP BY run_id, tenant_id, currency, state HAVING sum(n) <> 0 OR sum(n * amount_minor::numeric) <> 0;
  RETURN NULL;
END $$;
-- It keeps whoever moves payouts waiting until what there is was counted.
CREATE TRIGGER payout_moves AFTER UPDATE ON payout REFERENCING OLD TABLE AS stood NEW TABLE AS stands
  FOR EACH STATEMENT EXECUTE FUNCTION payout_moved();
INSERT INTO outcome_change (run_id, tenant_id, currency, state, payouts, amount_minor)
  WITH stands AS (
    SELECT run_id, tenant_id, currency, state, count(*) AS payouts, sum(amount_minor) AS amount_minor FROM payout
     WHERE state <> 'planned' GROUP BY run_id, tenant_id, currency, state)
  SELECT * FROM stands
   UNION ALL
  SELECT run_id, tenant_id, currency, 'planned', -sum(payouts), -sum(amount_minor) FROM stands GROUP BY run_id, tenant_id, currency;

-- Refusals and holds of a run, which are few, without a look at the others. A payout that is paid has no code before or after, and stays out of it.
CREATE INDEX payout_code ON payout (id) WHERE code IS NOT NULL;
