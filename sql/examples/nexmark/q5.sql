-- Hot items: which auctions had the most bids in the last ten seconds? Asked every two seconds.

CREATE MATERIALIZED VIEW q5 AS
  SELECT counted.auction, counted.num, counted.window_start, counted.window_end
  FROM (
    SELECT auction, window_start, window_end, count(*) AS num
    FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
    GROUP BY auction, window_start, window_end
  ) AS counted
  JOIN (
    SELECT window_start, window_end, max(num) AS most
    FROM (
      SELECT auction, window_start, window_end, count(*) AS num
      FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
      GROUP BY auction, window_start, window_end
    ) AS each_auction
    GROUP BY window_start, window_end
  ) AS hottest
  ON counted.window_start = hottest.window_start
    AND counted.window_end = hottest.window_end
    AND counted.num >= hottest.most;
