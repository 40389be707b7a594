-- A title.
-- revision: aa01

-- migrator: upgrade
SELECT 1;
-- migrate: downgrade
SELECT 1;
