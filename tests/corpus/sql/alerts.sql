-- Payments come in with INSERT; alerts and balances go out to topics of Kafka, each once, whatever dies on the way.

CREATE TABLE payments (card TEXT, amount NUMERIC(10, 2), at TIMESTAMP) APPEND ONLY;

CREATE SINK alerts AS SELECT card, amount, at FROM payments WHERE amount > 1000
  WITH (connector = 'kafka', bootstrap_servers = 'localhost:9092', topic = 'alerts', format = 'json');

CREATE MATERIALIZED VIEW spending AS SELECT card, count(*) AS payments, sum(amount) AS spent FROM payments GROUP BY card;

CREATE SINK balances FROM spending
  WITH (connector = 'kafka', bootstrap_servers = 'localhost:9092', topic = 'balances', format = 'json', type = 'upsert');

INSERT INTO payments VALUES ('4711', 12.50, '2026-01-01 10:00:00'), ('4712', 2400, '2026-01-01 10:01:00');
FLUSH;
INSERT INTO payments VALUES ('4711', 7.50, '2026-01-01 10:02:00');
FLUSH;
