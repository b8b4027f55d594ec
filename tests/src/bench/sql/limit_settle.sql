-- The limit, settling: one half of the payouts, from :first (included) to :end (excluded). The rows that paying and
-- recording leave: references as long as those of the `null` rail, settle transfers, an attempt for each batch, batches
-- done. Prints begin and end.
SELECT extract(epoch FROM clock_timestamp());
BEGIN;
INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
SELECT id, 1, tenant_id, 1, 'limit', clock_timestamp(), clock_timestamp() + interval '90 s',
       clock_timestamp(), 'answered'
  FROM batch WHERE run_id = :run AND first_payout_id >= :first AND first_payout_id < :end ORDER BY id;
UPDATE payout
   SET state = 'paid', reference = 'null-' || id || '-' || lpad(to_hex(hashint8extended(id, 0)), 16, '0'),
       settled_at = clock_timestamp()
 WHERE id >= :first AND id < :end;
INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency)
SELECT id, 2, tenant_id, amount_minor, currency FROM payout WHERE id >= :first AND id < :end ORDER BY id;
UPDATE batch
   SET state = 'done', lease_epoch = 1, attempt = 1, first_sent_at = clock_timestamp(), closed_at = clock_timestamp()
 WHERE run_id = :run AND first_payout_id >= :first AND first_payout_id < :end;
COMMIT;
SELECT extract(epoch FROM clock_timestamp());
