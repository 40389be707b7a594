-- A title.
-- revision: aa01

-- migrator: verify
SELECT true;
