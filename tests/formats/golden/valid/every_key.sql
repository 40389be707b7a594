-- --------------------
-- Every key: there is.
-- A second line of prose.
-- revision: aa05
-- down_revision: a, b
-- depends_on: a, events:77aa01
-- branch_labels: billing
-- tags: nightly, slow-ones
-- transaction: on
-- timeout: 10m
-- rerunnable: yes
-- allow_pooled: yes
-- on_failed_verify: downgrade

-- migrator: upgrade
SELECT 1;  -- timeout: 5
