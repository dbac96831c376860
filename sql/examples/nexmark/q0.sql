-- Pass through: every bid as it is, which shows what reading and writing cost.

CREATE MATERIALIZED VIEW q0 AS
  SELECT auction, bidder, price, date_time, extra
  FROM bid;
