-- A title.
-- revision: aa01
-- revision: aa02

-- migrator: upgrade
SELECT 1;
