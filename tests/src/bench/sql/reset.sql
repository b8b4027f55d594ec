-- Takes everything away that a run left, with what Postgres remembers of it, so that the next measurement begins as the
-- first did.
SET session_replication_role = replica; -- the ledger refuses to be emptied
DO $$
DECLARE
  emptied text[] := ARRAY(
    SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL (ARRAY[
      '_sqlx_migrations', 'schema_serves', 'generation', 'tenant', 'tenant_rail', 'tenant_method', 'tenant_volume',
      'affiliate', 'payout_method', 'payout_limit', 'commission', 'account', 'transfer_kind']));
BEGIN
  EXECUTE 'TRUNCATE ' || array_to_string(emptied, ', ');
  DELETE FROM pg_statistic WHERE starelid = ANY (emptied::regclass[]);
END $$;
SELECT pg_stat_reset();
CHECKPOINT;
