-- Show the total of every order.
-- revision: 42a42d0811b4
-- down_revision: ca4e9ba21aa7

-- A revision may be plain SQL. Each section is sent as it stands, in one transaction with the tracker's row.

-- migrator: upgrade
CREATE VIEW order_totals AS
SELECT orders.id AS order_id,
       orders.customer_id,
       orders.status,
       orders.placed_at,
       -- LEFT JOIN and coalesce: an order without lines costs nothing, and is not lost
       coalesce(sum(line.quantity * line.unit_price_cents), 0) AS total_cents
  FROM orders LEFT JOIN order_lines AS line ON line.order_id = orders.id
 GROUP BY orders.id;

-- migrator: downgrade
DROP VIEW order_totals;

-- migrator: verify
-- One statement; it passes when its first column is true. This one holds the view against its tables.
SELECT (SELECT count(*) FROM order_totals) = (SELECT count(*) FROM orders)
   AND (SELECT coalesce(sum(total_cents), 0) FROM order_totals)
     = (SELECT coalesce(sum(quantity * unit_price_cents), 0) FROM order_lines);
