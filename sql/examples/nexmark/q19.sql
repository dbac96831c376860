-- Auction top ten: of each auction the ten highest bids, and of equal ones the first.

CREATE MATERIALIZED VIEW q19 AS
  SELECT *
  FROM (
    SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time) AS rank_number
    FROM bid
  ) AS bids
  WHERE rank_number <= 10;
