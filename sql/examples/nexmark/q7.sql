-- Highest bid: which bids were the highest of their ten seconds?

CREATE MATERIALIZED VIEW q7 AS
  SELECT b.auction, b.bidder, b.price, b.date_time, b.extra
  FROM TUMBLE(bid, date_time, INTERVAL '10 seconds') AS b
  JOIN (
    SELECT window_start, window_end, max(price) AS highest
    FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
    GROUP BY window_start, window_end
  ) AS w
  ON b.window_start = w.window_start AND b.window_end = w.window_end AND b.price = w.highest;
