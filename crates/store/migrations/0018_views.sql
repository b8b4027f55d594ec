-- What people ask at night: who works and with what, which batches were taken over, and who was refused or is held.

-- What each worker says of itself, every few seconds. A screen explains by it why work waits; nothing is decided by it,
-- and a row that is too old says nothing. In Postgres, since Redis may be what is away.
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

-- Refusals and holds of a run, which are few, without a look at the others. A payout that is paid has no code before or
-- after, and stays out of it.
CREATE INDEX payout_code ON payout (id) WHERE code IS NOT NULL;
