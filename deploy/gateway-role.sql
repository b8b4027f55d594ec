-- The gateway's role: it keeps notices of rails and makes batches due, and can do nothing else. It sees no payout, no
-- destination and no amount.
--
--   psql --single-transaction -v ON_ERROR_STOP=1 -d DATABASE_URL -f deploy/gateway-role.sql
--
-- After `payfleet-coordinator migrate`, by the owner of the schema, who may make roles (CREATEROLE); again at any time.
-- Then a login for each gateway:
--
--   CREATE ROLE gateway1 LOGIN PASSWORD '...' IN ROLE payfleet_gateway;
DO $$
BEGIN
  CREATE ROLE payfleet_gateway NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- it is the server's, not the database's
END $$;
GRANT USAGE ON SCHEMA public TO payfleet_gateway;
-- Whether program and schema go together.
GRANT SELECT ON _sqlx_migrations, schema_serves TO payfleet_gateway;
GRANT EXECUTE ON FUNCTION notices_keep, notices_batches, notices_wake TO payfleet_gateway;
