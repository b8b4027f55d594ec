-- What a recovery found, and who has seen which of it.

-- Payments that no run knows, and that two people have said to be booked for an affiliate: these, and none that was read
-- beside them or became known to be the affiliate's later. What is not here is looked at before anything more is planned.
CREATE TABLE stray_booked (
  line_id      bigint NOT NULL REFERENCES statement_line,
  affiliate_id bigint NOT NULL,
  tenant_id    int NOT NULL,
  control_id   bigint NOT NULL REFERENCES control,
  PRIMARY KEY (line_id, affiliate_id),
  FOREIGN KEY (tenant_id, affiliate_id) REFERENCES affiliate (tenant_id, id)
);
CREATE TRIGGER stray_booked_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stray_booked
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Those that were booked before, as far as letters tell: by the instant at which they had been read.
INSERT INTO stray_booked (line_id, affiliate_id, tenant_id, control_id)
SELECT l.id, c.affiliate_id, c.tenant_id, max(c.id)
  FROM control c
  JOIN payout_method m ON m.tenant_id = c.tenant_id AND m.affiliate_id = c.affiliate_id
  JOIN statement_line l ON lower(replace(l.destination, ' ', '')) = lower(replace(m.destination, ' ', ''))
                       AND l.payout_id IS NULL AND l.kind = 'paid' AND l.read_at <= c.lifted_at
 WHERE c.reason LIKE '%recovered: %'
 GROUP BY l.id, c.affiliate_id, c.tenant_id;

-- Whether the part goes on from where the rail's own statement was read last: one that leaves a gap proves nothing to be
-- missing.
ALTER TABLE statement_part ADD COLUMN goes_on boolean NOT NULL DEFAULT false;
