-- Limits that outlive an address; balances that fit; and what never changes.

-- Between which amounts a kind of method is used for an affiliate, in one currency. Belongs to the kind, so that another address has the same
-- limits, and binds its own currency only: 50.00 says nothing about yen.
CREATE TABLE payout_limit (
  tenant_id    int NOT NULL,
  affiliate_id bigint NOT NULL,
  method       text NOT NULL CHECK (method ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
  currency     char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  min_minor    bigint CHECK (min_minor > 0),
  max_minor    bigint CHECK (max_minor >= coalesce(min_minor, 1)),
  CHECK (min_minor IS NOT NULL OR max_minor IS NOT NULL),
  PRIMARY KEY (affiliate_id, method, currency),
  FOREIGN KEY (tenant_id, affiliate_id) REFERENCES affiliate (tenant_id, id)
);

-- Waits for an import that is under way, and keeps the next one waiting for the moment that the copy takes.
LOCK TABLE payout_method IN SHARE MODE;
-- Where addresses of one kind had different limits, the strictest count for the kind; a minimum that does not fit under the maximum is left out,
-- since it is the maximum that protects.
INSERT INTO payout_limit (tenant_id, affiliate_id, method, currency, min_minor, max_minor)
  SELECT tenant_id, affiliate_id, method, currency,
         (SELECT max(n) FROM unnest(mins) AS n WHERE max_minor IS NULL OR n <= max_minor), max_minor
    FROM (SELECT m.tenant_id, m.affiliate_id, m.method, a.currency, array_agg(m.min_minor) AS mins, min(m.max_minor) AS max_minor
            FROM payout_method m JOIN affiliate a ON a.tenant_id = m.tenant_id AND a.id = m.affiliate_id
           WHERE m.retired_at IS NULL AND (m.min_minor IS NOT NULL OR m.max_minor IS NOT NULL)
           GROUP BY m.tenant_id, m.affiliate_id, m.method, a.currency) AS old;

-- The columns stay for a plan that a program of the version before is in the middle of; nothing of this version reads them. A limit that such a
-- program would still write there would bind nobody, so it is refused: that import fails as a whole, and is made again with this version.
CREATE FUNCTION refuse_old_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'limits are in payout_limit: upgrade the program' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER payout_method_limits_moved BEFORE INSERT OR UPDATE OF min_minor, max_minor ON payout_method
  FOR EACH ROW WHEN (NEW.min_minor IS NOT NULL OR NEW.max_minor IS NOT NULL) EXECUTE FUNCTION refuse_old_limit();

-- An account that is contested, or whose balance is too large to be told, is excluded like any other that is not paid. Of the latter, what was
-- earned in the window is left for the next one (late_for), and the exclusion is about what it had before: also zero.
-- NOT VALID: what is there satisfies the narrower rules that these replace.
ALTER TABLE exclusion DROP CONSTRAINT exclusion_reason_check, DROP CONSTRAINT exclusion_amount_minor_check, DROP CONSTRAINT exclusion_check;
ALTER TABLE exclusion
  ADD CONSTRAINT exclusion_reason_check CHECK (reason IN ('balance_out_of_range', 'negative_balance', 'below_minimum', 'on_hold', 'contested',
    'no_method', 'method_unusable', 'no_rail', 'currency_unsupported', 'outside_limits')) NOT VALID,
  ADD CONSTRAINT exclusion_amount_minor_check CHECK (amount_minor <> 0 OR reason = 'balance_out_of_range') NOT VALID,
  ADD CONSTRAINT exclusion_check CHECK ((reason = 'negative_balance') = (amount_minor < 0) OR reason = 'balance_out_of_range') NOT VALID;

-- How much a tenant's commissions are in all, sales and clawbacks alike: as long as all of a currency is less than what one balance may be, no single
-- balance can be more. The first import of a tenant that had commissions before this table counts them once.
CREATE TABLE tenant_volume (
  tenant_id   int NOT NULL REFERENCES tenant,
  currency    char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  gross_minor numeric NOT NULL CHECK (gross_minor > 0),
  PRIMARY KEY (tenant_id, currency)
);

-- What a key or a payment is derived from never changes: no statement may name these columns. (Triggers for rows would cost each settled payout a
-- lock, and a record of it in the log, whatever columns they are for.)
CREATE FUNCTION refuse_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'this never changes in %', TG_TABLE_NAME USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER affiliate_fixed BEFORE UPDATE OF id, tenant_id, external_id ON affiliate FOR EACH STATEMENT EXECUTE FUNCTION refuse_column();
CREATE TRIGGER payout_method_fixed BEFORE UPDATE OF id, tenant_id, affiliate_id, method, destination ON payout_method
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_column();
CREATE TRIGGER run_fixed BEFORE UPDATE OF id, tenant_id, key, period, sequence, ordinal, opens_after, cutoff, minimum ON run
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_column();
CREATE TRIGGER payout_fixed BEFORE UPDATE OF id, tenant_id, run_id, affiliate_id, method_id, currency, amount_minor, carried_minor ON payout
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_column();
CREATE TRIGGER batch_fixed
  BEFORE UPDATE OF id, tenant_id, run_id, rail, account, credential, currency, first_payout_id, last_payout_id, payouts, amount_minor, parent_id ON batch
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_column();
