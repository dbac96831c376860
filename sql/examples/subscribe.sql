-- The changes of a view as they come, fetched piece by piece: what any driver can do.

CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT, amount NUMERIC(10, 2));

CREATE MATERIALIZED VIEW spending AS
  SELECT customer, count(*) AS orders, sum(amount) AS spent FROM orders GROUP BY customer;

INSERT INTO orders VALUES (2, 'bob', 6), (3, 'ada', 7.50);
FLUSH;

BEGIN;
DECLARE news CURSOR FOR SUBSCRIBE TO spending;
FETCH ALL FROM news;                          -- the rows that are there, each with diff 1
INSERT INTO orders VALUES (4, 'bob', 2);
FETCH 2 FROM news WITH (timeout = '10s');     -- bob's old row with diff -1, his new one with diff 1
COMMIT;
