-- The system of record. Money is bigint minor units beside its currency; instants are timestamptz; a word of state is the word
-- that `domain` uses, and the CHECKs say again which combinations exist.
--
-- The mass tables (commission, payout, exclusion, transfer) have no foreign keys: they are written by single statements that
-- join the row they refer to, and what they refer to is never deleted. Everything else has.

CREATE TABLE tenant (
  id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  -- Days after it was earned until a commission is due.
  hold_days  int NOT NULL DEFAULT 0 CHECK (hold_days BETWEEN 0 AND 365),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which rail pays a method of this tenant, and from which account. The credential is a name; its value is in the worker's environment.
CREATE TABLE tenant_rail (
  tenant_id  int NOT NULL REFERENCES tenant,
  method     text NOT NULL CHECK (method ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
  rail       text NOT NULL,
  account    text NOT NULL CHECK (account <> ''),
  credential text CHECK (credential ~ '^[A-Z][A-Z0-9_]{0,63}$'),
  PRIMARY KEY (tenant_id, method)
);

CREATE TABLE affiliate (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id   int NOT NULL REFERENCES tenant,
  external_id text NOT NULL CHECK (external_id = btrim(external_id) AND external_id <> ''),
  name        text NOT NULL,
  email       text NOT NULL,
  country     text NOT NULL,
  currency    char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  on_hold     boolean NOT NULL DEFAULT false,
  UNIQUE (tenant_id, external_id),
  UNIQUE (tenant_id, id)
);

-- Where an affiliate can be paid. A row's method and destination never change: a payout that was planned for it is paid to it. Another
-- address is another row, and the old one is retired.
CREATE TABLE payout_method (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id   int NOT NULL,
  affiliate_id bigint NOT NULL,
  method      text NOT NULL CHECK (method ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
  -- In normal form: without surrounding space and in one letter case, so that equal payees are equal.
  destination text NOT NULL CHECK (destination = btrim(destination) AND destination <> ''),
  priority    smallint NOT NULL DEFAULT 0,
  usable      boolean NOT NULL DEFAULT true,
  min_minor   bigint CHECK (min_minor > 0),
  max_minor   bigint CHECK (max_minor >= coalesce(min_minor, 1)),
  retired_at  timestamptz,
  FOREIGN KEY (tenant_id, affiliate_id) REFERENCES affiliate (tenant_id, id)
);
CREATE UNIQUE INDEX payout_method_live ON payout_method (affiliate_id, priority) WHERE retired_at IS NULL;
CREATE UNIQUE INDEX payout_method_once ON payout_method (affiliate_id, method, destination) WHERE retired_at IS NULL;

-- One earning, or a clawback. It is the ledger's entry of it: debit `earnings` of the tenant, credit `payable` to the affiliate.
-- It is paid by the one run whose window holds it (see `run`), so nothing is ever marked on it.
CREATE TABLE commission (
  tenant_id    int NOT NULL,
  external_id  text COLLATE "C" NOT NULL CHECK (external_id <> ''),
  affiliate_id bigint NOT NULL,
  currency     char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN -1000000000000000 AND 1000000000000000 AND amount_minor <> 0),
  earned_at    timestamptz NOT NULL,
  -- Earned, and past the hold period.
  due_at       timestamptz NOT NULL CHECK (due_at >= earned_at),
  -- Months since year 0 of due_at in UTC: lets a run read its own months in the order of affiliates, however long the history is.
  due_month    int NOT NULL GENERATED ALWAYS AS
    ((extract(year FROM due_at AT TIME ZONE 'UTC') * 12 + extract(month FROM due_at AT TIME ZONE 'UTC') - 1)::int) STORED,
  -- Set when it became known after a run had fixed a cutoff at or after due_at: the ordinal of the run that pays it instead.
  late_for     int CHECK (late_for > 1),
  kind         text NOT NULL CHECK (kind IN ('sale', 'clawback')),
  order_ref    text NOT NULL,
  CHECK ((kind = 'clawback') = (amount_minor < 0)),
  PRIMARY KEY (tenant_id, external_id)
);
CREATE INDEX commission_due ON commission (tenant_id, due_month, affiliate_id) INCLUDE (currency, amount_minor, due_at)
  WHERE late_for IS NULL;
CREATE INDEX commission_late ON commission (tenant_id, late_for, affiliate_id) WHERE late_for IS NOT NULL;

-- What an affiliate has left over from the windows that are closed: opening balance of the next. Moves by plan, release and return only,
-- and always equals commissions in closed windows - reserved + released + returned, which the reconciler proves.
CREATE TABLE account (
  tenant_id     int NOT NULL,
  affiliate_id  bigint NOT NULL,
  currency      char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  carried_minor bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, affiliate_id, currency)
) WITH (fillfactor = 50);

-- One tenant's payouts for one period. Its window is (opens_after, cutoff]: the windows of a tenant form a chain in which each opens where the
-- one before ended (the foreign key), and each has one successor (the unique key), so a due commission is in exactly one. A commission that
-- becomes known late is in the next window to come (late_for). Imports hold a shared advisory lock on the tenant and the fixing of a
-- cutoff an exclusive one, so "known before the cutoff was fixed" has one answer.
CREATE TABLE run (
  id           bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 2147483647) PRIMARY KEY,
  tenant_id    int NOT NULL REFERENCES tenant,
  -- Random: keeps the keys of two installations on one rail account apart.
  key          uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  period       text NOT NULL CHECK (period ~ '^[0-9]{4}-[0-9]{2}$'),
  sequence     smallint NOT NULL CHECK (sequence > 0),
  ordinal      int NOT NULL CHECK (ordinal > 0),
  previous     int GENERATED ALWAYS AS (nullif(ordinal - 1, 0)) STORED,
  opens_after  timestamptz,
  cutoff       timestamptz NOT NULL,
  -- In units of each currency.
  minimum      numeric(20, 4) NOT NULL CHECK (minimum >= 0),
  state        text NOT NULL DEFAULT 'planning'
    CHECK (state IN ('planning', 'planned', 'paying', 'settled', 'reconciled', 'discrepant', 'cancelled')),
  paused_at    timestamptz,
  pause_reason text,
  -- Known when the plan is complete.
  payouts      bigint NOT NULL DEFAULT 0 CHECK (payouts BETWEEN 0 AND 4294967295),
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  planned_at   timestamptz,
  paying_at    timestamptz,
  settled_at   timestamptz,
  reconciled_at timestamptz,
  CHECK ((ordinal = 1) = (opens_after IS NULL)),
  CHECK (opens_after <= cutoff),
  CHECK ((paused_at IS NULL) = (pause_reason IS NULL)),
  CHECK ((planned_at IS NULL) = (state = 'planning')),
  CHECK (paying_at IS NOT NULL OR state IN ('planning', 'planned', 'cancelled')),
  CHECK (settled_at IS NOT NULL OR state NOT IN ('settled', 'reconciled', 'discrepant')),
  CHECK ((reconciled_at IS NOT NULL) = (state IN ('reconciled', 'discrepant'))),
  UNIQUE (tenant_id, period, sequence),
  UNIQUE (tenant_id, ordinal),
  UNIQUE (tenant_id, id),
  UNIQUE (tenant_id, ordinal, cutoff),
  FOREIGN KEY (tenant_id, previous, opens_after) REFERENCES run (tenant_id, ordinal, cutoff)
);

-- The parts of a run's plan: the affiliates after_affiliate (excluded) to up_to (included). Each is planned in one transaction, several at once,
-- and only if it was not; together they are everybody, since each begins where the one before ended. The payouts of a part have the places from
-- first_place on, so that no part waits for another to know its numbers.
CREATE TABLE plan_chunk (
  run_id          bigint NOT NULL,
  n               int NOT NULL CHECK (n > 0),
  tenant_id       int NOT NULL,
  after_affiliate bigint NOT NULL,
  up_to           bigint NOT NULL CHECK (up_to > after_affiliate),
  first_place     bigint NOT NULL CHECK (first_place BETWEEN 0 AND 4294967295),
  accounts        bigint NOT NULL CHECK (accounts >= 0),
  is_planned      boolean NOT NULL DEFAULT false,
  PRIMARY KEY (run_id, n),
  UNIQUE (run_id, after_affiliate),
  FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id)
);

-- What the plan decided, counted while each part of it was made: `verdict` is `pay` or the reason code of an exclusion. What G5 measures the
-- outcomes against.
CREATE TABLE run_plan (
  run_id       bigint NOT NULL,
  chunk        int NOT NULL,
  currency     char(3) NOT NULL,
  verdict      text NOT NULL,
  accounts     bigint NOT NULL CHECK (accounts > 0),
  amount_minor numeric NOT NULL,
  PRIMARY KEY (run_id, chunk, currency, verdict),
  FOREIGN KEY (run_id, chunk) REFERENCES plan_chunk (run_id, n)
);

CREATE TABLE exclusion (
  run_id        bigint NOT NULL,
  affiliate_id  bigint NOT NULL,
  currency      char(3) NOT NULL,
  tenant_id     int NOT NULL,
  reason        text NOT NULL CHECK (reason IN ('negative_balance', 'below_minimum', 'on_hold', 'no_method', 'method_unusable',
                                                'no_rail', 'currency_unsupported', 'outside_limits')),
  amount_minor  bigint NOT NULL CHECK (amount_minor <> 0),
  carried_minor bigint NOT NULL,
  CHECK ((reason = 'negative_balance') = (amount_minor < 0)),
  PRIMARY KEY (run_id, affiliate_id, currency)
);

-- Payouts of one run, one rail account and one currency that travel together: the payouts numbered first_payout_id to last_payout_id.
CREATE TABLE batch (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id       int NOT NULL,
  run_id          bigint NOT NULL,
  rail            text NOT NULL,
  account         text NOT NULL,
  credential      text,
  currency        char(3) NOT NULL,
  first_payout_id bigint NOT NULL,
  last_payout_id  bigint NOT NULL,
  payouts         int NOT NULL CHECK (payouts > 0),
  amount_minor    bigint NOT NULL CHECK (amount_minor > 0),
  parent_id       bigint REFERENCES batch,
  state           text NOT NULL DEFAULT 'ready'
    CHECK (state IN ('ready', 'sending', 'accepted', 'done', 'held', 'split', 'cancelled')),
  available_at    timestamptz NOT NULL DEFAULT '-infinity',
  lease_epoch     int NOT NULL DEFAULT 0,
  lease_until     timestamptz NOT NULL DEFAULT '-infinity',
  lease_owner     text,
  attempt         int NOT NULL DEFAULT 0,
  first_sent_at   timestamptz,
  stalled_leases  int NOT NULL DEFAULT 0,
  unknown_attempts int NOT NULL DEFAULT 0,
  -- Failures in a row; back-off grows with it.
  failures        int NOT NULL DEFAULT 0,
  last_code       text,
  closed_at       timestamptz,
  CHECK (last_payout_id - first_payout_id + 1 = payouts),
  CHECK (first_payout_id >> 32 = run_id AND last_payout_id >> 32 = run_id),
  -- Ready means: provably nothing of it is under way.
  CHECK (state NOT IN ('ready', 'cancelled') OR first_sent_at IS NULL),
  CHECK (state NOT IN ('sending', 'accepted') OR (first_sent_at IS NOT NULL AND attempt > 0)),
  CHECK ((closed_at IS NOT NULL) = (state IN ('done', 'held', 'split', 'cancelled'))),
  UNIQUE (tenant_id, id),
  FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id)
) WITH (fillfactor = 50);
CREATE INDEX batch_of_run ON batch (run_id, id);
CREATE INDEX batch_halves ON batch (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX batch_open ON batch (rail, run_id, id) WHERE state IN ('ready', 'sending', 'accepted');

-- One try at submitting a batch, committed before the call is made.
CREATE TABLE attempt (
  batch_id  bigint NOT NULL,
  n         int NOT NULL CHECK (n > 0),
  tenant_id int NOT NULL,
  epoch     int NOT NULL,
  worker    text NOT NULL,
  opened_at timestamptz NOT NULL,
  -- After this the rail can no longer execute its requests.
  may_arrive_until timestamptz NOT NULL CHECK (may_arrive_until > opened_at),
  closed_at timestamptz,
  -- answered: every payout has a definite answer. not_executed: provably nothing happened. unknown: neither.
  -- superseded: a lookup after its lifetime has told what it did.
  result    text CHECK (result IN ('answered', 'not_executed', 'unknown', 'superseded')),
  CHECK ((closed_at IS NULL) = (result IS NULL)),
  PRIMARY KEY (batch_id, n),
  FOREIGN KEY (tenant_id, batch_id) REFERENCES batch (tenant_id, id)
);

-- One instruction: pay this affiliate this amount. Its number is (run << 32) + place in the plan.
CREATE TABLE payout (
  id            bigint PRIMARY KEY,
  run_id        bigint NOT NULL CHECK (id >> 32 = run_id),
  affiliate_id  bigint NOT NULL,
  method_id     bigint NOT NULL,
  amount_minor  bigint NOT NULL CHECK (amount_minor > 0),
  -- The part of the amount that came over from earlier windows; the rest was earned in this run's.
  carried_minor bigint NOT NULL,
  settled_at    timestamptz,
  tenant_id     int NOT NULL,
  currency      char(3) NOT NULL,
  state         text NOT NULL DEFAULT 'planned'
    CHECK (state IN ('planned', 'accepted', 'paid', 'refused', 'unknown', 'held', 'returned', 'cancelled')),
  reference     text,
  code          text,
  -- A payment without a reference, or a refusal without a code, cannot be written.
  CHECK (state NOT IN ('paid', 'accepted', 'returned') OR reference IS NOT NULL),
  CHECK (state NOT IN ('planned', 'refused', 'cancelled') OR reference IS NULL),
  CHECK ((state IN ('refused', 'held')) = (code IS NOT NULL)),
  CHECK ((state IN ('paid', 'returned')) = (settled_at IS NOT NULL)),
  UNIQUE (run_id, affiliate_id, currency)
-- An outcome makes the row longer, and its new version fits beside the old one, or both indexes grow with it.
) WITH (fillfactor = 40);

-- What was said about a payment beyond the first success, which the payout itself keeps: what contradicts it, comes later, or frees money.
CREATE TABLE evidence (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id int NOT NULL REFERENCES tenant,
  payout_id bigint NOT NULL,
  source    text NOT NULL CHECK (source IN ('answer', 'lookup', 'statement', 'person')),
  says      text NOT NULL CHECK (says IN ('paid', 'accepted', 'refused', 'returned')),
  reference text NOT NULL DEFAULT '',
  code      text NOT NULL DEFAULT '',
  batch_id  bigint,
  attempt   int,
  seen_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (says NOT IN ('paid', 'accepted', 'returned') OR reference <> ''),
  UNIQUE (payout_id, says, reference, code)
);

-- The ledger's double entries, append-only. The kind names both sides.
CREATE TABLE transfer_kind (
  kind   smallint PRIMARY KEY,
  name   text NOT NULL UNIQUE,
  debit  text NOT NULL,
  credit text NOT NULL,
  CHECK (debit <> credit)
);
INSERT INTO transfer_kind VALUES
  (0, 'reserve', 'payable', 'reserved'),
  (2, 'settle', 'reserved', 'rail'),
  (3, 'release', 'reserved', 'payable'),
  (4, 'return', 'rail', 'payable');

CREATE TABLE transfer (
  payout_id    bigint NOT NULL,
  amount_minor bigint NOT NULL CHECK (amount_minor > 0),
  at           timestamptz NOT NULL DEFAULT now(),
  tenant_id    int NOT NULL,
  kind         smallint NOT NULL CHECK (kind IN (0, 2, 3, 4)),
  currency     char(3) NOT NULL
);
-- A payout's money goes three steps at most: reserved (0), then settled or released (2 or 3, never both), then returned (4). The numbers of the
-- kinds are chosen so that half of one is its step.
CREATE UNIQUE INDEX transfer_step ON transfer (payout_id, (kind / 2));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % is not allowed', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER evidence_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON evidence FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every leg of every transfer: debits negative, credits positive. Sums to zero by currency.
CREATE VIEW ledger_entry AS
  SELECT t.tenant_id, t.payout_id, p.affiliate_id, t.currency, leg.account, leg.amount_minor, k.name AS transfer, t.at
    FROM transfer t JOIN transfer_kind k USING (kind) LEFT JOIN payout p ON p.id = t.payout_id,
         LATERAL (VALUES (k.debit, -t.amount_minor), (k.credit, t.amount_minor)) AS leg (account, amount_minor)
  UNION ALL
  SELECT c.tenant_id, NULL, c.affiliate_id, c.currency, leg.account, leg.amount_minor, c.kind, c.due_at
    FROM commission c, LATERAL (VALUES ('earnings', -c.amount_minor), ('payable', c.amount_minor)) AS leg (account, amount_minor);

-- What only people may decide: one asks, another agrees.
CREATE TABLE hold (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id   int NOT NULL REFERENCES tenant,
  run_id      bigint NOT NULL,
  payout_id   bigint NOT NULL,
  reason      text NOT NULL,
  opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  proposal    text CHECK (proposal IN ('paid', 'not_paid')),
  -- The rail's name for the payment, where the proposal is that it was paid.
  proposed_reference text,
  proposed_by text,
  approved_by text,
  resolution  text CHECK (resolution IN ('paid', 'not_paid', 'evidence')),
  resolved_at timestamptz,
  CHECK ((proposal IS NULL) = (proposed_by IS NULL)),
  CHECK ((proposal IS NOT DISTINCT FROM 'paid') = (proposed_reference IS NOT NULL)),
  CHECK (lower(proposed_by) <> lower(approved_by)),
  CHECK ((resolved_at IS NULL) = (resolution IS NULL)),
  CHECK (resolution NOT IN ('paid', 'not_paid') OR (approved_by IS NOT NULL AND resolution = proposal))
);
CREATE UNIQUE INDEX hold_open ON hold (payout_id) WHERE resolved_at IS NULL;

-- What a reconciliation found.
CREATE TABLE reconciliation (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id     int NOT NULL,
  run_id        bigint NOT NULL,
  statement     text NOT NULL,
  lines         bigint NOT NULL,
  discrepancies bigint NOT NULL,
  finished_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id)
);
CREATE TABLE discrepancy (
  reconciliation_id bigint NOT NULL REFERENCES reconciliation,
  tenant_id   int NOT NULL REFERENCES tenant,
  kind        text NOT NULL,
  payout_id   bigint,
  affiliate   text,
  currency    text,
  expected    text,
  found       text
);
CREATE INDEX discrepancy_of ON discrepancy (reconciliation_id);
