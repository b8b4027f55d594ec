-- Generations that programs remember and this database has never heard of: they began with a recovery that an older backup knows nothing of. They are recovered
-- from with the recovery in which they were found, like those that it knows; else whoever remembers one would find the database behind for ever.
CREATE TABLE generation_lost (
  key         uuid PRIMARY KEY,
  -- Not a reference, of which there is no need: both only grow.
  recovery_id bigint NOT NULL
);
CREATE TRIGGER generation_lost_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON generation_lost FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
