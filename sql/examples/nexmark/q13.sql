-- Bounded side input: every bid, with what a small table that never changes knows of its auction.

CREATE MATERIALIZED VIEW q13 AS
  SELECT b.auction, b.bidder, b.price, b.date_time, side_input.value
  FROM bid AS b
  JOIN (
    VALUES
      (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'),
      (5, 'five'), (6, 'six'), (7, 'seven'), (8, 'eight'), (9, 'nine')
  ) AS side_input (key, value)
  ON b.auction % 10 = side_input.key;
