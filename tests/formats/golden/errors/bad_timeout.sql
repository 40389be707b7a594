-- A title.
-- revision: aa01
-- timeout: 10

-- migrator: upgrade
SELECT 1;
