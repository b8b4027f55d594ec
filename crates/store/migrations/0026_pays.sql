-- What is owed and what the rail is told are two things. `amount_minor` and `currency` are what is due: of the balance,
-- the plan and the ledger. What the rail pays stands beside them where it is another amount in another currency, and is
-- absent where it is the same, so that no amount is written twice.
ALTER TABLE payout ADD COLUMN pays_minor bigint, ADD COLUMN pays_currency char(3);
ALTER TABLE payout ADD CONSTRAINT payout_pays_check CHECK (coalesce(
  pays_minor > 0 AND pays_currency ~ '^[A-Z]{3}$' AND pays_currency <> currency,
  pays_minor IS NULL AND pays_currency IS NULL)) NOT VALID;
CREATE OR REPLACE TRIGGER payout_fixed
  BEFORE UPDATE OF id, tenant_id, run_id, affiliate_id, method_id, currency, amount_minor, carried_minor, pays_minor,
    pays_currency ON payout
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_column();

-- What a rail keeps of a return has the number of the return and 28: 32, 36 and 40. The last of them was refused, and
-- with it whatever told of a third return of which something was kept. 34 has never been used.
ALTER TABLE transfer DROP CONSTRAINT transfer_kind_known;
ALTER TABLE transfer ADD CONSTRAINT transfer_kind_known CHECK (kind IN (0, 2, 3, 4, 6, 8, 10, 12, 32, 36, 40))
  NOT VALID;
DELETE FROM transfer_kind WHERE kind = 34;
UPDATE transfer_kind SET name = 'fee_2' WHERE kind = 36;
INSERT INTO transfer_kind VALUES (40, 'fee_3', 'fees', 'payable');
