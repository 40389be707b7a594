-- A title.
-- revision: aa01
-- down-revision: aa00

-- migrator: upgrade
SELECT 1;
