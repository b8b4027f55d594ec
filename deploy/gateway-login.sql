-- A login of the gateway's role, with the password that a file holds. After deploy/gateway-role.sql; again at any time,
-- for another password.
--
--   GATEWAY_PASSWORD_FILE=FILE psql -v ON_ERROR_STOP=1 -v login=gateway1 -d DATABASE_URL -f deploy/gateway-login.sql
\set password `cat "$GATEWAY_PASSWORD_FILE"`
SELECT format('CREATE ROLE %I LOGIN IN ROLE payfleet_gateway', :'login')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'login') \gexec
ALTER ROLE :"login" PASSWORD :'password';
