-- As whom do the services log in to PostgreSQL? As heard_service, whose password is SERVICE_PASSWORD.
--
-- Run by the database's owner after `heard migrate`, which makes the role heard_app; safe to repeat, and
-- the password is set anew each time. It can do what heard_app can (add events, and neither change nor
-- remove one) and nothing else, also when it sets its role aside.

\set ON_ERROR_STOP on
\getenv password SERVICE_PASSWORD

BEGIN;
SELECT 'CREATE ROLE heard_service'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'heard_service') \gexec
ALTER ROLE heard_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
      PASSWORD :'password';
GRANT heard_app TO heard_service;
-- Read models that it builds belong to the role: auditors read those, and none but the owner may drop one.
ALTER ROLE heard_service SET role = heard_app;
COMMIT;
