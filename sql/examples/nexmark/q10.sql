-- Log to a file system: every bid, with the day and the minute that its folder would be named after.

CREATE MATERIALIZED VIEW q10 AS
  SELECT
    auction, bidder, price, date_time, extra,
    date_time::DATE AS dt,
    substr(date_time::TEXT, 12, 5) AS hm
  FROM bid;
