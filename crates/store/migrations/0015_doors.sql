-- What the doors through which data comes in look at.

-- A clawback is due at once, and together with its sale as long as no run has counted that. Which clawbacks no run has
-- counted yet: those of windows to come are found here, those that wait for the next run because they came late by
-- `commission_late`.
CREATE INDEX commission_clawback ON commission (tenant_id, due_at) WHERE kind = 'clawback' AND order_ref <> '';

-- What ids look like, as `domain` says (`alike.rs`): ids that differ only by leading zeros, letter case, space or
-- letters that look alike have one key. Rows of the version before have none; of affiliates it is noted by the next
-- import of affiliates.
ALTER TABLE commission ADD COLUMN id_key bigint;
ALTER TABLE affiliate
  ADD COLUMN id_key bigint,
  -- The first affiliate of the tenant whose id looks the same, if that is another one.
  ADD COLUMN alike_of bigint,
  ADD CONSTRAINT affiliate_alike_of_first CHECK (alike_of < id),
  ADD FOREIGN KEY (tenant_id, alike_of) REFERENCES affiliate (tenant_id, id);
CREATE INDEX affiliate_alike ON affiliate (tenant_id, id) WHERE alike_of IS NOT NULL;
CREATE INDEX affiliate_without_key ON affiliate (tenant_id, id) WHERE id_key IS NULL;
