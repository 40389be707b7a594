-- revision: aa06
-- down_revision: none
--migrator:upgrade
SELECT 1