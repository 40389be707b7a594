-- A title.
-- revision: aa01

-- migrator: upgrade downgrade
SELECT 1;
