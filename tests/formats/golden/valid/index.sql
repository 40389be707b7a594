-- Index the orders that still wait to be shipped.
-- revision: 7c01d2ee
-- down_revision: 3f2a91c7
-- transaction: off

-- migrator: upgrade
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_unshipped_idx
    ON orders (created_at) WHERE shipped_at IS NULL;

-- migrator: downgrade
DROP INDEX CONCURRENTLY IF EXISTS orders_unshipped_idx;

-- migrator: verify
SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_unshipped_idx'::regclass;
