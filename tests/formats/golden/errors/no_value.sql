-- A title.
-- revision: aa01
-- down_revision:

-- migrator: upgrade
SELECT 1;
