-- A file and the rail itself may tell of one movement under one name, and differ in how much it is. Each is kept, and what the rail says is so.

-- Three witnesses of one movement: an answer (or a lookup, or people), a file, and the rail's own statement. In place of one that had files and the
-- rail in one.
CREATE UNIQUE INDEX movement_once_each ON movement (payout_id, kind, reference, (line_id IS NOT NULL), (source = 'file'));
DROP INDEX movement_once;
ALTER INDEX movement_once_each RENAME TO movement_once;

-- What is known of movements: a file's word about one that the rail's own statement tells too, as a row or as a bit, is not asked any more; nor what was
-- known when two people, who had looked, said that it was not paid.
CREATE VIEW movement_known AS
  SELECT m.* FROM movement m
   WHERE m.source <> 'file'
      OR NOT EXISTS (SELECT FROM hold h WHERE h.payout_id = m.payout_id AND h.resolution = 'not_paid' AND h.resolved_at >= m.seen_at)
     AND NOT EXISTS (SELECT FROM movement r
                      WHERE r.payout_id = m.payout_id AND r.kind = m.kind AND r.reference = m.reference AND r.source = 'statement')
     AND NOT (m.kind = 'paid' AND EXISTS (
           SELECT FROM payout p JOIN listed l ON l.run_id = p.run_id AND l.block = ((p.id & 4294967295) >> 13)::int
            WHERE p.id = m.payout_id AND p.reference = m.reference AND get_bit(l.bits, (p.id & 8191)::int) = 1));

-- The same of lines: what a file says otherwise of a payment or return that the rail lists itself, speaks in no verdict any more.
CREATE VIEW statement_line_known AS
  SELECT s.* FROM statement_line s
   WHERE s.source <> 'file'
      OR NOT EXISTS (SELECT FROM statement_line r
                      WHERE r.payout_id = s.payout_id AND r.account_id = s.account_id AND r.kind = s.kind AND r.reference = s.reference
                        AND r.source = 'rail')
     AND NOT (s.kind = 'paid' AND NOT s.differs_account AND EXISTS (
           SELECT FROM payout p JOIN listed l ON l.run_id = p.run_id AND l.block = ((p.id & 4294967295) >> 13)::int
            WHERE p.id = s.payout_id AND p.reference = s.reference AND get_bit(l.bits, (p.id & 8191)::int) = 1));

-- Which payouts stand in a file as one payment just as it was ordered and recorded; `listed` is of the rail's own statement alone from now on. A file does
-- not put on that what the rail leaves out.
CREATE TABLE listed_by_file (
  run_id bigint NOT NULL,
  block  int NOT NULL CHECK (block >= 0),
  bits   bit(8192) NOT NULL,
  PRIMARY KEY (run_id, block)
) WITH (fillfactor = 50);
