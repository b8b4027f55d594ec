-- A rail may name every part that comes back by the payment's own reference, as Stripe does: what an answer tells later
-- of the same reference is more of the money, and no repetition. Each amount is a row; who weighs them takes the largest.
-- (Lines of a statement are kept each by itself, in statement_line.)
CREATE UNIQUE INDEX movement_each ON movement (payout_id, kind, reference, (line_id IS NOT NULL), (source = 'file'),
  (CASE WHEN line_id IS NULL THEN amount_minor ELSE 0 END));
DROP INDEX movement_once;
