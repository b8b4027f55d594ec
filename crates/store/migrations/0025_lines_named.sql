-- Lines of the rails' own statements that bear no key of ours, and were read before the rail's name of the payment was
-- known here: of which payout they turned out to be. The payout has the line under its key then, and nobody is asked about
-- a payment that no run ordered.
CREATE TABLE statement_line_named (
  line_id   bigint PRIMARY KEY REFERENCES statement_line,
  payout_id bigint NOT NULL,
  named_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER statement_line_named_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON statement_line_named
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Those of which that is still open: most accounts have none.
CREATE INDEX statement_line_stray ON statement_line (account_id, id) WHERE payout_id IS NULL;
