-- A title.

-- migrator: upgrade
SELECT 1;
