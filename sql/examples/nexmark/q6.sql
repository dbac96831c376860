-- Average selling price by seller: after each auction, the mean of the last ten winning bids of its seller.

CREATE MATERIALIZED VIEW q6 AS
  SELECT
    seller, id,
    avg(price) OVER (PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS average
  FROM (
    SELECT
      a.id, a.seller, b.price, b.date_time,
      row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place
    FROM auction AS a
    JOIN bid AS b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
  ) AS bids
  WHERE place <= 1;
