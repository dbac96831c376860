-- Add channel id: the number of a bid's channel, known for four of them and else found in its URL.

CREATE MATERIALIZED VIEW q21 AS
  SELECT
    auction, bidder, price, channel,
    CASE lower(channel)
      WHEN 'apple' THEN '0'
      WHEN 'google' THEN '1'
      WHEN 'facebook' THEN '2'
      WHEN 'baidu' THEN '3'
      ELSE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2]
    END AS channel_id
  FROM bid
  WHERE lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
    OR regexp_match(url, '(&|^)channel_id=([^&]*)') IS NOT NULL;
