-- A title.
-- revision: aa01
-- down_revision: a,, b

-- migrator: upgrade
SELECT 1;
