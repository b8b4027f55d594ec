-- The limit, planning: one half of the affiliates, from :after (excluded) to :up_to (included), their payouts numbered
-- from :first on. The rows that a plan leaves, written in the order of their keys, with nothing decided that this data
-- does not need decided. Prints begin and end.
SELECT extract(epoch FROM clock_timestamp());
BEGIN;
INSERT INTO payout (id, run_id, affiliate_id, method_id, amount_minor, carried_minor, tenant_id, currency)
SELECT :first + row_number() OVER (ORDER BY e.affiliate_id, e.currency) - 1, :run, e.affiliate_id, m.id,
       a.carried_minor + e.minor, a.carried_minor, :tenant, e.currency
  FROM (SELECT affiliate_id, currency, sum(amount_minor)::bigint AS minor FROM commission
         WHERE tenant_id = :tenant AND late_for IS NULL AND affiliate_id > :after AND affiliate_id <= :up_to
           AND due_at <= :'cutoff'
         GROUP BY affiliate_id, currency) AS e
  JOIN account a ON a.tenant_id = :tenant AND a.affiliate_id = e.affiliate_id AND a.currency = e.currency
                AND a.affiliate_id > :after AND a.affiliate_id <= :up_to
  JOIN payout_method m ON m.affiliate_id = e.affiliate_id AND m.retired_at IS NULL
                      AND m.affiliate_id > :after AND m.affiliate_id <= :up_to
 ORDER BY 1;
INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency)
SELECT id, 0, tenant_id, amount_minor, currency FROM payout WHERE id >= :first AND id < :end ORDER BY id;
INSERT INTO batch (tenant_id, run_id, rail, account, currency, first_payout_id, last_payout_id, payouts, amount_minor)
SELECT :tenant, :run, 'null', 'bench', currency, min(id), max(id), count(*), sum(amount_minor)
  FROM payout WHERE id >= :first AND id < :end GROUP BY currency, (id - :first) / 500 ORDER BY 6;
INSERT INTO plan_chunk (run_id, n, tenant_id, after_affiliate, up_to, first_place, accounts, is_planned)
SELECT :run, :n, :tenant, :after, :up_to, :first & 4294967295, count(*), true
  FROM payout WHERE id >= :first AND id < :end;
INSERT INTO run_plan (run_id, chunk, currency, verdict, accounts, amount_minor)
SELECT :run, :n, currency, 'pay', sum(payouts), sum(amount_minor) FROM batch
 WHERE run_id = :run AND first_payout_id >= :first AND first_payout_id < :end GROUP BY currency;
COMMIT;
SELECT extract(epoch FROM clock_timestamp());
