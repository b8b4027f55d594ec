-- What rails say of money after the first answer: statements by account, what came back, what was paid twice, what was proven late.

-- A verdict is a view on what is known, and stale as soon as something more is: news about the run's payments, or a statement that reaches further.
ALTER TABLE run
  ADD COLUMN verdict text CHECK (verdict IN ('reconciled', 'discrepant')),
  ADD COLUMN judged_at timestamptz,
  -- Counted up with everything that is learned about its payments; judged with the last news that its verdict knew of.
  ADD COLUMN news_no bigint NOT NULL DEFAULT 1,
  ADD COLUMN judged_news bigint NOT NULL DEFAULT 0,
  -- Money that was released carries the number of the run that counts it (transfer.due_in) since before this run was planned.
  ADD COLUMN stamped boolean NOT NULL DEFAULT false;
ALTER TABLE run ALTER COLUMN stamped SET DEFAULT true;
UPDATE run SET verdict = state, judged_at = reconciled_at,
       judged_news = CASE state WHEN 'reconciled' THEN 1 ELSE 0 END WHERE state IN ('reconciled', 'discrepant');
ALTER TABLE run ADD CHECK ((verdict IS NULL) = (judged_at IS NULL));
ALTER TABLE run ADD CHECK (state NOT IN ('reconciled', 'discrepant') OR verdict IS NOT DISTINCT FROM state);

-- An account at a rail that payouts were paid from. Its statement is read forward, each part once. Several tenants may share one.
CREATE TABLE rail_account (
  id           int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rail         text NOT NULL,
  account      text NOT NULL CHECK (account <> ''),
  -- Up to this instant of the rail's clock the statement was read without a gap; the next part begins here.
  reaches_to   timestamptz NOT NULL DEFAULT '-infinity',
  -- The same by our clock: what was recorded as paid by then must be on what was read. Counted back from the moment before the statement was asked
  -- for by the age that the rail itself gives its end, so that clocks that differ do no harm.
  reaches_ours timestamptz NOT NULL DEFAULT '-infinity',
  -- The snapshot in which the last part was asked for: what it does not show was recorded later, whatever the clocks say.
  asked_in     pg_snapshot,
  read_at      timestamptz,
  UNIQUE (rail, account)
);
INSERT INTO rail_account (rail, account) SELECT rail, account FROM tenant_rail UNION SELECT rail, account FROM batch;

-- The parts in which statements came, those with lines only. `digest` is the SHA-256 of the lines as they were understood.
CREATE TABLE statement_part (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id int NOT NULL REFERENCES rail_account,
  source     text NOT NULL CHECK (source IN ('rail', 'file')),
  name       text NOT NULL,
  digest     bytea NOT NULL CHECK (length(digest) = 32),
  lines      bigint NOT NULL CHECK (lines >= 0),
  from_at    timestamptz,
  -- Absent: it has no end mark, and proves nothing to be missing.
  until_at   timestamptz CHECK (until_at >= from_at),
  -- Who handed in the file, if the person said so by a token.
  person_id  int,
  read_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX statement_part_of ON statement_part (account_id, id);

-- Which payouts stand on a statement as one payment just as it was ordered and recorded: a bit for each place in the run's plan, 8,192 in a row.
CREATE TABLE listed (
  run_id bigint NOT NULL,
  block  int NOT NULL CHECK (block >= 0),
  bits   bit(8192) NOT NULL,
  PRIMARY KEY (run_id, block)
) WITH (fillfactor = 50);

-- The lines that are not simply that. Read again in an overlapping part a line is the same line: `content` is a hash of all that it says.
CREATE TABLE statement_line (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id   int NOT NULL REFERENCES rail_account,
  content      uuid NOT NULL,
  -- The run whose verdict it speaks in: of its payout, or of who ordered nothing, the newest that was paid from the account by then.
  run_id       bigint,
  -- The payout whose key it has; absent if that key is none of ours.
  payout_id    bigint,
  kind         text NOT NULL CHECK (kind IN ('paid', 'returned')),
  key          text NOT NULL,
  reference    text NOT NULL,
  of_reference text,
  amount_minor bigint NOT NULL,
  fee_minor    bigint NOT NULL DEFAULT 0,
  currency     text NOT NULL,
  destination  text NOT NULL,
  at           timestamptz,
  source       text NOT NULL CHECK (source IN ('rail', 'file')),
  -- In what it differs from the plan; of a return, from the payment.
  differs_amount      boolean NOT NULL DEFAULT false,
  differs_currency    boolean NOT NULL DEFAULT false,
  differs_destination boolean NOT NULL DEFAULT false,
  differs_account     boolean NOT NULL DEFAULT false,
  differs_return      boolean NOT NULL DEFAULT false,
  read_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- A file and the rail itself may say the same; what the rail says weighs more.
  UNIQUE (account_id, content, source)
);
CREATE INDEX statement_line_of ON statement_line (payout_id) WHERE payout_id IS NOT NULL;
CREATE INDEX statement_line_in ON statement_line (run_id, id);

-- A payout's account by reference: every payment and every return of it that is known beyond the first payment, which the payout itself keeps.
-- Its money is free only when all that was paid has come back.
CREATE TABLE movement (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id    int NOT NULL REFERENCES tenant,
  payout_id    bigint NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('paid', 'returned')),
  -- The rail's name: of the payment, or of the return. Of a return that a rail told without naming it: of the payment.
  reference    text NOT NULL CHECK (reference <> ''),
  -- Of a return: the payment that came back, where the rail says it.
  of_reference text,
  amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
  -- What the rail kept of money that came back.
  fee_minor    bigint NOT NULL DEFAULT 0 CHECK (fee_minor >= 0),
  currency     text NOT NULL,
  -- By the rail's clock, where it says so.
  at           timestamptz,
  source       text NOT NULL CHECK (source IN ('answer', 'lookup', 'statement', 'file', 'person')),
  -- A return that only a file tells of frees nothing before a second person has confirmed it.
  counts       boolean NOT NULL DEFAULT true,
  line_id      bigint REFERENCES statement_line,
  seen_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (counts OR kind = 'returned' AND source = 'file'),
  CHECK (kind = 'returned' OR (fee_minor = 0 AND of_reference IS NULL)),
  CHECK (amount_minor + fee_minor > 0)
);
-- What an answer told and what a statement lists are two witnesses of one movement.
CREATE UNIQUE INDEX movement_once ON movement (payout_id, kind, reference, (line_id IS NOT NULL));
CREATE INDEX movement_waiting ON movement (tenant_id, id) WHERE NOT counts;
INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source, seen_at)
  SELECT e.tenant_id, e.payout_id, e.says, e.reference, p.amount_minor, p.currency, e.source, e.seen_at
    FROM evidence e JOIN payout p ON p.id = e.payout_id AND p.tenant_id = e.tenant_id WHERE e.says IN ('paid', 'returned')
      ON CONFLICT DO NOTHING;

CREATE TRIGGER statement_part_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON statement_part
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER statement_line_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON statement_line
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER movement_append_only BEFORE DELETE OR TRUNCATE ON movement FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER movement_unchanged BEFORE UPDATE ON movement FOR EACH ROW
  WHEN (OLD.counts OR NOT NEW.counts OR (to_jsonb(OLD) - 'counts') IS DISTINCT FROM (to_jsonb(NEW) - 'counts')) EXECUTE FUNCTION refuse_change();

-- Somebody's account that was paid by a payout which counted as not paid, so that its money was due again. No plan pays it until two people have looked.
CREATE TABLE contest (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id    int NOT NULL REFERENCES tenant,
  affiliate_id bigint NOT NULL,
  currency     char(3) NOT NULL,
  payout_id    bigint NOT NULL,
  opened_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  closed_at    timestamptz
);
CREATE UNIQUE INDEX contest_open ON contest (payout_id) WHERE closed_at IS NULL;
CREATE INDEX contest_account ON contest (tenant_id, affiliate_id, currency) WHERE closed_at IS NULL;

-- Money may go on moving: what was released is proven paid after all (late), comes back, is paid again. After settle or release, lates and returns
-- take turns; half of a kind's number is its step, so that none happens twice. What a rail keeps of a return is the payer's: the payee is owed all of it.
INSERT INTO transfer_kind VALUES
  (6, 'late', 'payable', 'rail'),
  (8, 'return_2', 'rail', 'payable'),
  (10, 'late_2', 'payable', 'rail'),
  (12, 'return_3', 'rail', 'payable'),
  (32, 'fee', 'fees', 'payable'),
  (34, 'fee_2', 'fees', 'payable'),
  (36, 'fee_3', 'fees', 'payable');
ALTER TABLE transfer DROP CONSTRAINT transfer_kind_check1;
ALTER TABLE transfer ADD CONSTRAINT transfer_kind_known CHECK (kind IN (0, 2, 3, 4, 6, 8, 10, 12, 32, 34, 36)) NOT VALID;
-- Of what changes a balance outside of plans: the ordinal of the run that counts it, the first one that was created after it. (Writers hold a shared
-- advisory lock on the tenant, and who creates a run an exclusive one.) Absent in rows from before this column.
ALTER TABLE transfer ADD COLUMN due_in int;
ALTER TABLE transfer ADD CONSTRAINT transfer_due_in_check CHECK (due_in IS NULL OR (due_in > 1 AND kind NOT IN (0, 2))) NOT VALID;
CREATE INDEX transfer_due_in ON transfer (tenant_id, due_in) WHERE due_in IS NOT NULL;
