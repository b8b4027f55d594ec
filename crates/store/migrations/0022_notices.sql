-- What rails say unasked, as it was sent: each event once. Nothing is concluded from it; it wakes the batch that it
-- names. Written by the gateway alone, whose role can do no more than what the three functions below do
-- (deploy/gateway-role.sql). What is old may be deleted.
CREATE TABLE notice (
  rail        text COLLATE "C" NOT NULL CHECK (rail <> ''),
  account     text COLLATE "C" NOT NULL CHECK (account <> ''),
  -- The rail's own name of the event.
  event       text COLLATE "C" NOT NULL CHECK (event <> ''),
  kind        text NOT NULL CHECK (kind <> ''),
  -- SHA-256 of what no replay can change. By it a notice is known again that somebody has given another name.
  signed      bytea NOT NULL CHECK (octet_length(signed) = 32),
  body        bytea NOT NULL CHECK (octet_length(body) <= 1048576),
  received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (rail, account, event)
);
CREATE UNIQUE INDEX notice_signed_once ON notice (rail, account, signed);
-- For whoever deletes what is old.
CREATE INDEX notice_received ON notice USING brin (received_at);
CREATE TRIGGER notice_append_only BEFORE UPDATE ON notice FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- From a payout's number to its open batch, without reading all batches of its run. The columns never change.
CREATE INDEX batch_open_payouts ON batch (first_payout_id) WHERE state IN ('ready', 'sending', 'accepted');

-- Keeps notices; says which of them are new.
CREATE FUNCTION notices_keep(
  rails text[], accounts text[], events text[], kinds text[], signed_as bytea[], bodies bytea[])
RETURNS TABLE (new_rail text, new_account text, new_event text)
LANGUAGE sql SECURITY DEFINER AS $$
  INSERT INTO notice (rail, account, event, kind, signed, body)
  SELECT n.rail, n.account, n.event, n.kind, n.signed, n.body
    FROM unnest(rails, accounts, events, kinds, signed_as, bodies) AS n (rail, account, event, kind, signed, body)
   ORDER BY n.rail, n.account, n.event
      ON CONFLICT DO NOTHING
  RETURNING rail, account, event
$$;

-- Which open batches these names lead to, the n-th of them to `batch`: a payout's number, or a reference that the rail
-- gave. Only of what was perhaps sent: what is ready waits for a reason that no notice takes away.
CREATE FUNCTION notices_batches(rails text[], accounts text[], payouts bigint[], refs text[])
RETURNS TABLE (n bigint, batch bigint)
LANGUAGE sql STABLE SECURITY DEFINER AS $$
  WITH named AS MATERIALIZED (
    SELECT u.rail, u.account, u.payout, u.reference, u.place
      FROM unnest(rails, accounts, payouts, refs) WITH ORDINALITY AS u (rail, account, payout, reference, place)),
  asked AS MATERIALIZED (
    SELECT DISTINCT named.rail, named.account FROM named WHERE named.payout IS NULL)
  SELECT m.place, b.id
    FROM named m, LATERAL (
           SELECT o.id, o.rail, o.account, o.state, o.last_payout_id FROM batch o
            WHERE o.state IN ('ready', 'sending', 'accepted') AND o.first_payout_id <= m.payout
            ORDER BY o.first_payout_id DESC LIMIT 1) AS b
   WHERE m.payout <= b.last_payout_id AND b.rail = m.rail AND b.account = m.account
     AND b.state IN ('sending', 'accepted')
   UNION
  SELECT m.place, b.id
    FROM asked a
    JOIN batch b ON b.rail = a.rail AND b.account = a.account AND b.state IN ('sending', 'accepted')
    JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id AND p.state = 'accepted'
    JOIN named m ON m.reference = p.reference AND m.rail = a.rail AND m.account = a.account
$$;

-- Makes batches due now, as far as they are open and perhaps sent: those it names, and whether they are due. One that
-- somebody works on is left to them.
CREATE FUNCTION notices_wake(batches bigint[])
RETURNS TABLE (batch bigint, is_due boolean)
LANGUAGE sql SECURITY DEFINER AS $$
  WITH free AS (
    SELECT o.id FROM batch o
     WHERE o.id = ANY(batches) AND o.state IN ('sending', 'accepted') AND o.lease_until < clock_timestamp()
     ORDER BY o.id FOR NO KEY UPDATE SKIP LOCKED),
  woken AS (
    UPDATE batch o SET available_at = least(o.available_at, clock_timestamp()), available_in = '0'
      FROM free WHERE o.id = free.id
 RETURNING o.id)
  SELECT o.id, o.id IN (SELECT woken.id FROM woken) FROM batch o
   WHERE o.id = ANY(batches) AND o.state IN ('sending', 'accepted')
$$;
-- In the schema that this is, and nobody's temporary tables before it.
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION notices_keep SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION notices_batches SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION notices_wake SET search_path = %I, pg_temp', current_schema());
END $$;
REVOKE ALL ON FUNCTION notices_keep, notices_batches, notices_wake FROM PUBLIC;
