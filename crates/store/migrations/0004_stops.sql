-- How people stop money, and how they know that it has stopped.

-- Pauses and cancels of a run so far. A worker confirms them by number.
ALTER TABLE run ADD COLUMN stop_no int NOT NULL DEFAULT 0 CHECK (stop_no >= 0);

ALTER TABLE batch
  -- The newest stop of the run that a lessee of the batch has confirmed: no call begins any more under its lease...
  ADD COLUMN stop_seen int NOT NULL DEFAULT 0 CHECK (stop_seen >= 0),
  -- ...and so many calls were under way then, and the calls of so many payouts had not begun.
  ADD COLUMN stop_calls int NOT NULL DEFAULT 0 CHECK (stop_calls >= 0),
  ADD COLUMN stop_unsent int NOT NULL DEFAULT 0 CHECK (stop_unsent >= 0);

-- What one person has stopped: whatever is due to an affiliate, or one payout. It belongs to them and not to a method, which the next address replaces. It
-- is read when a run is planned and again at each intent, and it is never removed, only lifted. `affiliate.on_hold` says whether an affiliate is on
-- hold, by an import or by a command; the row here says why.
CREATE TABLE control (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id    int NOT NULL REFERENCES tenant,
  affiliate_id bigint,
  payout_id    bigint,
  reason       text NOT NULL CHECK (reason = btrim(reason) AND reason <> ''),
  set_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  lifted_at    timestamptz,
  CONSTRAINT control_of_one CHECK ((affiliate_id IS NULL) <> (payout_id IS NULL)),
  FOREIGN KEY (tenant_id, affiliate_id) REFERENCES affiliate (tenant_id, id)
);
CREATE UNIQUE INDEX control_of_affiliate ON control (affiliate_id) WHERE affiliate_id IS NOT NULL AND lifted_at IS NULL;
CREATE UNIQUE INDEX control_of_payout ON control (payout_id) WHERE payout_id IS NOT NULL AND lifted_at IS NULL;
CREATE INDEX affiliate_on_hold ON affiliate (tenant_id, id) WHERE on_hold;

-- In the words of whoever stopped it.
ALTER TABLE hold ADD COLUMN note text;
-- A control is lifted by one person; nothing was in doubt.
ALTER TABLE hold DROP CONSTRAINT hold_resolution_check;
ALTER TABLE hold ADD CONSTRAINT hold_resolution_check CHECK (resolution IN ('paid', 'not_paid', 'evidence', 'lifted'));
