-- A title.
-- revision: aa01
-- transaction: maybe

-- migrator: upgrade
SELECT 1;
