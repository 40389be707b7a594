-- A title.
-- revision: aa01
-- transction: off

-- migrator: upgrade
SELECT 1;
