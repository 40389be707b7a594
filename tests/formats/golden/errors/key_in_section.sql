-- A title.
-- revision: aa01

-- migrator: upgrade
SELECT 1;
-- transaction: off
