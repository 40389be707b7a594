-- A title.
-- revision: aa01
SELECT 1;

-- migrator: upgrade
SELECT 1;
