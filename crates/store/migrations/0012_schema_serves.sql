-- Which programs may go on on this schema while the fleet is upgraded: those that were built for this migration or a later one. A migration that older
-- programs cannot live with says so by another row; one that only adds leaves it.
CREATE TABLE schema_serves (
  serves_from bigint PRIMARY KEY CHECK (serves_from > 0),
  since       timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO schema_serves (serves_from) VALUES (12);
CREATE TRIGGER schema_serves_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON schema_serves FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
