-- Batches whose kept outcomes are believed, and are not those of their payouts.
SELECT k.batch_id, k.outcomes::text, found.outcomes::text
  FROM batch_counted k CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object('state', state, 'payouts', n, 'minor', minor) ORDER BY state), '[]')
             AS outcomes
      FROM (SELECT state, count(*) AS n, sum(amount_minor) AS minor FROM payout
             WHERE id BETWEEN k.first_payout_id AND k.last_payout_id GROUP BY state) AS s) AS found
 WHERE k.is_kept AND k.outcomes <> found.outcomes
