-- Windows: how many bids does somebody make in ten seconds? In event time: the benchmark asks it of processing time.

CREATE MATERIALIZED VIEW q12 AS
  SELECT bidder, count(*) AS bid_count, window_start, window_end
  FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
  GROUP BY bidder, window_start, window_end;
