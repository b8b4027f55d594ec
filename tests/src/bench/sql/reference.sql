-- The reference: a lean schema, one session. Payouts with a bigint key in order and unique by run, affiliate and
-- currency; a reserve and a settle transfer each; settled by UPDATE. Prints begin, the end of planning, and the end.
CREATE TABLE lean_payout (
  id bigint PRIMARY KEY, run_id int NOT NULL, affiliate_id bigint NOT NULL, currency char(3) NOT NULL,
  amount_minor bigint NOT NULL, state text NOT NULL DEFAULT 'planned', reference text,
  UNIQUE (run_id, affiliate_id, currency));
CREATE TABLE lean_transfer (
  payout_id bigint NOT NULL, kind smallint NOT NULL, amount_minor bigint NOT NULL, PRIMARY KEY (payout_id, kind));
SELECT extract(epoch FROM clock_timestamp());
BEGIN;
INSERT INTO lean_payout (id, run_id, affiliate_id, currency, amount_minor)
SELECT row_number() OVER (ORDER BY affiliate_id, currency), 1, affiliate_id, currency, minor
  FROM (SELECT affiliate_id, currency, sum(amount_minor)::bigint AS minor FROM commission
         WHERE tenant_id = :tenant AND due_at <= :'cutoff' GROUP BY affiliate_id, currency) AS earned
 ORDER BY 1;
INSERT INTO lean_transfer SELECT id, 0, amount_minor FROM lean_payout ORDER BY id;
COMMIT;
SELECT extract(epoch FROM clock_timestamp());
BEGIN;
UPDATE lean_payout
   SET state = 'paid', reference = 'null-' || id || '-' || lpad(to_hex(hashint8extended(id, 0)), 16, '0');
INSERT INTO lean_transfer SELECT id, 2, amount_minor FROM lean_payout ORDER BY id;
COMMIT;
SELECT extract(epoch FROM clock_timestamp());
DROP TABLE lean_payout, lean_transfer;
