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

-- Whether the part goes on from where the rail's own statement was read last: one that leaves a gap proves nothing to be
-- missing.
ALTER TABLE statement_part ADD COLUMN goes_on boolean NOT NULL DEFAULT false;

-- From which accounts a tenant is paid, and was: `rails set` names another one, and a payment that is lost went out from
-- where it was paid then.
CREATE TABLE tenant_account (
  tenant_id  int NOT NULL, -- of a tenant that there is, as `tenant_rail` says
  rail       text NOT NULL,
  account    text NOT NULL,
  credential text,
  -- Since when no method of the tenant is paid from it.
  left_at    timestamptz,
  PRIMARY KEY (tenant_id, rail, account)
);
INSERT INTO tenant_account (tenant_id, rail, account, credential)
SELECT DISTINCT ON (tenant_id, rail, account) tenant_id, rail, account, credential FROM tenant_rail
 ORDER BY tenant_id, rail, account, credential IS NULL;
CREATE FUNCTION tenant_rail_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO tenant_account (tenant_id, rail, account, credential)
    VALUES (NEW.tenant_id, NEW.rail, NEW.account, NEW.credential)
        ON CONFLICT (tenant_id, rail, account) DO UPDATE SET credential = excluded.credential, left_at = NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    UPDATE tenant_account t SET left_at = clock_timestamp()
     WHERE t.tenant_id = OLD.tenant_id AND t.rail = OLD.rail AND t.account = OLD.account AND t.left_at IS NULL
       AND NOT EXISTS (SELECT FROM tenant_rail r
                        WHERE r.tenant_id = OLD.tenant_id AND r.rail = OLD.rail AND r.account = OLD.account);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_rail_noted AFTER INSERT OR UPDATE OR DELETE ON tenant_rail
  FOR EACH ROW EXECUTE FUNCTION tenant_rail_note();
