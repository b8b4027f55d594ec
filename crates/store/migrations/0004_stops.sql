-- How people stop money, and how they know that it has stopped.

-- Pauses and cancels of a run so far. A worker confirms them by number.
ALTER TABLE run ADD COLUMN stop_no int NOT NULL DEFAULT 0 CHECK (stop_no >= 0);

ALTER TABLE batch
  -- The newest stop of the run that a lessee of the batch has confirmed: no call begins any more under its lease...
  ADD COLUMN stop_seen int NOT NULL DEFAULT 0 CHECK (stop_seen >= 0),
  -- ...and so many calls were under way then, and the calls of so many payouts had not begun.
  ADD COLUMN stop_calls int NOT NULL DEFAULT 0 CHECK (stop_calls >= 0),
  ADD COLUMN stop_unsent int NOT NULL DEFAULT 0 CHECK (stop_unsent >= 0);
