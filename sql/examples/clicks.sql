-- What was shown and what was clicked: two streams joined, visits, and the last of each.

CREATE TABLE ads (ad INT, shown TIMESTAMP) APPEND ONLY
  WITH WATERMARK FOR shown AS shown - INTERVAL '10 minutes';

CREATE TABLE clicks (ad INT, at TIMESTAMP) APPEND ONLY
  WITH WATERMARK FOR at AS at - INTERVAL '10 minutes';

CREATE MATERIALIZED VIEW clicked AS
  SELECT a.ad, shown, at
  FROM ads AS a LEFT JOIN clicks AS c
    ON a.ad = c.ad AND at BETWEEN shown AND shown + INTERVAL '5 minutes'
  EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW visits AS
  SELECT ad, window_start, window_end, count(*) AS clicks
  FROM SESSION(clicks PARTITION BY ad, at, INTERVAL '2 minutes', max => INTERVAL '1 hour')
  GROUP BY ad, window_start, window_end;

CREATE MATERIALIZED VIEW last_two AS
  SELECT ad, at
  FROM (SELECT *, row_number() OVER (PARTITION BY ad ORDER BY at DESC) AS place FROM clicks) AS c
  WHERE place <= 2;

CREATE MATERIALIZED VIEW never_clicked AS
  SELECT ad FROM ads WHERE NOT EXISTS (SELECT 1 FROM clicks WHERE clicks.ad = ads.ad);

CREATE MATERIALIZED VIEW clicked_once AS
  SELECT DISTINCT ON (ad) ad, at FROM clicks EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW lately AS
  SELECT window_start, count(*) AS ads
  FROM HOP(clicked_once, at, INTERVAL '5 minutes', INTERVAL '15 minutes')
  GROUP BY window_start
  EMIT ON WINDOW CLOSE;
