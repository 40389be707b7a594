-- A title.
-- revision: aa01
-- transaction: no

-- migrator: upgrade
SELECT 1;
