-- User sessions: how many bids does somebody make until they are silent for ten seconds?

CREATE MATERIALIZED VIEW q11 AS
  SELECT bidder, count(*) AS bid_count, window_start, window_end
  FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10 seconds')
  GROUP BY bidder, window_start, window_end;
