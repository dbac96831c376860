-- The smallest live view: a table that clients write, and an answer that is always up to date.

CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT, amount NUMERIC(10, 2));

CREATE MATERIALIZED VIEW spending AS
  SELECT customer, count(*) AS orders, sum(amount) AS spent FROM orders GROUP BY customer;

INSERT INTO orders VALUES (1, 'ada', 10), (2, 'bob', 5), (3, 'ada', 7.50);
UPDATE orders SET amount = 6 WHERE id = 2;
DELETE FROM orders WHERE id = 1;
FLUSH;
SELECT * FROM spending ORDER BY customer;
