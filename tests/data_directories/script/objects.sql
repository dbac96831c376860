-- One object of each kind that a data directory can hold. Relative paths begin where the server was started.

CREATE SECRET place AS 'in/readings';

-- Tables: each type, with and without a key, with an event time.
CREATE TABLE typed (id INT PRIMARY KEY, small SMALLINT, big BIGINT, single REAL, double DOUBLE PRECISION,
  money NUMERIC(12, 2), word TEXT NOT NULL, flag BOOLEAN, day DATE, clock TIME, moment TIMESTAMP, instant TIMESTAMPTZ,
  bytes BYTEA, list INT[], pair STRUCT<a INT, b TEXT>, note TEXT DEFAULT 'none');
CREATE TABLE accounts (id BIGINT PRIMARY KEY, owner TEXT, city TEXT, balance BIGINT, rate DOUBLE PRECISION,
  price NUMERIC(12, 2));
CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE bag (word TEXT, n INT);
CREATE TABLE log (word TEXT, n BIGINT, x DOUBLE PRECISION, price NUMERIC(12, 2)) APPEND ONLY;
CREATE TABLE two_keys (a INT, b TEXT, v INT, PRIMARY KEY (a, b));
CREATE TABLE hits (page TEXT, at TIMESTAMP, n INT) APPEND ONLY WITH WATERMARK FOR at AS at - INTERVAL '10 minutes';
CREATE TABLE ads (id INT, shown TIMESTAMP) APPEND ONLY WITH WATERMARK FOR shown AS shown - INTERVAL '10 minutes';
CREATE TABLE clicks (id INT, at TIMESTAMP) APPEND ONLY WITH WATERMARK FOR at AS at - INTERVAL '10 minutes';
CREATE TABLE trades (id INT PRIMARY KEY, symbol TEXT, at TIMESTAMP);
CREATE TABLE quotes (symbol TEXT, at TIMESTAMP, price INT);
CREATE TABLE rates (currency TEXT PRIMARY KEY, rate INT);
CREATE TABLE orders (id INT, currency TEXT, amount INT) APPEND ONLY;
CREATE TABLE events (id INT PRIMARY KEY, at TIMESTAMP, kind TEXT);

-- Sources and streams.
CREATE SOURCE readings (id INT, text TEXT, divisor INT)
  WITH (connector = 'directory', path = SECRET place, format = 'csv', header = true, max_files_per_trigger = 1);
CREATE SOURCE cities_by_id (id BIGINT PRIMARY KEY, city TEXT, people BIGINT)
  WITH (connector = 'directory', path = 'in/cities', max_files_per_trigger = 1) FORMAT DEBEZIUM ENCODE JSON;
CREATE SOURCE landed (flight TEXT, dest TEXT, landed_at TIMESTAMP, passengers INT)
  WITH (connector = 'directory', path = 'in/landed', format = 'json');
CREATE STREAM flights WITH WATERMARK FOR landed_at AS landed_at - INTERVAL '5 minutes' AS
  SELECT flight, dest, landed_at, passengers FROM landed WHERE dest IS NOT NULL;

-- Functions.
CREATE FUNCTION add_count(history BIGINT, new BIGINT) RETURNS BIGINT RETURN history + new;
CREATE FUNCTION longest(a TEXT, b TEXT) RETURNS TEXT STRICT AS 'SELECT CASE WHEN length($2) > length(a) THEN b ELSE a END';
CREATE AGGREGATE running_count(BIGINT) (SFUNC = add_count, STYPE = BIGINT, INITCOND = '0');
CREATE AGGREGATE glued(TEXT) (SFUNC = concat, STYPE = TEXT, INITCOND = '>');
CREATE AGGREGATE longest_of(TEXT) (SFUNC = longest, STYPE = TEXT, FINALFUNC = upper);

-- Without state.
CREATE MATERIALIZED VIEW filtered AS SELECT id, upper(owner) AS owner, balance * 10 AS cents FROM accounts WHERE balance > 2;
CREATE MATERIALIZED VIEW all_typed AS SELECT * FROM typed;
CREATE MATERIALIZED VIEW united_all AS SELECT word FROM bag UNION ALL SELECT word FROM log UNION ALL VALUES ('v');
CREATE MATERIALIZED VIEW unnested AS SELECT id, unnest(list) AS item FROM typed;
CREATE MATERIALIZED VIEW static_join AS SELECT id, size FROM accounts
  JOIN (VALUES ('small', 0, 9), ('big', 10, 1000)) AS s (size, low, high) ON balance BETWEEN low AND high;
CREATE VIEW plain AS SELECT owner, balance FROM accounts WHERE balance > 5;

-- Aggregates, over rows that only come and over rows that go.
CREATE MATERIALIZED VIEW sums_append AS SELECT word, count(*) AS c, sum(n) AS n, sum(x) AS x, avg(x) AS mean_x,
  sum(price) AS price, avg(price) AS mean_price, min(x) AS least, max(price) AS most FROM log GROUP BY word;
CREATE MATERIALIZED VIEW sums_whole AS SELECT word, sum(n) AS n, avg(n) AS mean FROM log GROUP BY word;
CREATE MATERIALIZED VIEW total_append AS SELECT count(*) AS c, sum(x) AS x, sum(price) AS price FROM log;
CREATE MATERIALIZED VIEW spread_append AS
  SELECT word, stddev_pop(x) AS spread, median(n) AS middle, bool_and(n > 1) AS b FROM log GROUP BY word;
CREATE MATERIALIZED VIEW distinct_append AS SELECT word, count(DISTINCT n) AS n, sum(DISTINCT n) AS total FROM log GROUP BY word;
CREATE MATERIALIZED VIEW sum_of_counts AS SELECT owner, count(*) AS n, sum(balance) AS balance FROM accounts GROUP BY owner;
CREATE MATERIALIZED VIEW sum_of_floats AS SELECT city, sum(rate) AS rate, avg(rate) AS mean FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW sum_of_decimals AS SELECT city, sum(price) AS price, avg(price) AS mean FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW avg_of_whole AS SELECT city, avg(balance) AS mean FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW extremes AS SELECT city, min(balance) AS least, max(owner) AS most FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW recomputed AS SELECT city, stddev_pop(rate) AS spread, median(balance) AS middle,
  count(DISTINCT owner) AS owners FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW lists AS SELECT city, string_agg(owner, '+' ORDER BY id) AS owners,
  array_agg(balance ORDER BY balance DESC, id) AS balances FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW filtered_sums AS
  SELECT city, count(*) FILTER (WHERE balance > 5) AS many, sum(balance) FILTER (WHERE rate > 1) AS good FROM accounts
  GROUP BY city HAVING count(*) > 0;
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(balance) AS balance FROM accounts;
CREATE MATERIALIZED VIEW grouping_sets AS SELECT owner, city, count(*) AS n FROM accounts GROUP BY ROLLUP (city, owner);
CREATE MATERIALIZED VIEW folded AS SELECT word, running_count(n) AS n FROM log GROUP BY word;
CREATE MATERIALIZED VIEW folded_whole AS SELECT longest_of(word) AS longest FROM log;
CREATE MATERIALIZED VIEW folded_again AS
  SELECT city, glued(owner ORDER BY id) AS owners FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW grouped_by_float AS SELECT rate, count(*) AS n FROM accounts GROUP BY rate;

-- Sets and first rows.
CREATE MATERIALIZED VIEW distinct_append_rows AS SELECT DISTINCT word FROM log;
CREATE MATERIALIZED VIEW distinct_rows AS SELECT DISTINCT city FROM accounts;
CREATE MATERIALIZED VIEW distinct_bag AS SELECT DISTINCT word, n FROM bag;
CREATE MATERIALIZED VIEW united AS SELECT word FROM bag UNION SELECT owner FROM accounts;
CREATE MATERIALIZED VIEW intersected AS SELECT city FROM accounts INTERSECT SELECT city FROM people;
CREATE MATERIALIZED VIEW excepted AS SELECT city FROM people EXCEPT SELECT city FROM accounts;
CREATE MATERIALIZED VIEW distinct_on AS SELECT DISTINCT ON (city) city, id, balance FROM accounts ORDER BY city, balance, id;
CREATE MATERIALIZED VIEW distinct_on_append AS SELECT DISTINCT ON (word) word, n FROM log ORDER BY word, n DESC;
CREATE MATERIALIZED VIEW distinct_on_time AS SELECT DISTINCT ON (page, at) page, at, n FROM hits ORDER BY page, at, n;
CREATE MATERIALIZED VIEW distinct_with_time AS SELECT DISTINCT page, at FROM hits;
CREATE MATERIALIZED VIEW dedup_in_window AS
  SELECT DISTINCT ON (window_start, page) window_start, page, at, n FROM TUMBLE(hits, at, INTERVAL '10 minutes')
  ORDER BY window_start, page, at, n EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW dedup_in_session AS SELECT page, at, n FROM (
    SELECT *, row_number() OVER (PARTITION BY page, window_start, window_end ORDER BY at, n) AS place
    FROM SESSION(hits PARTITION BY page, at, INTERVAL '5 minutes')
  ) AS s WHERE place = 1 EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW first_two AS
  SELECT city, id, balance FROM accounts QUALIFY row_number() OVER (PARTITION BY city ORDER BY balance DESC, id) <= 2;
CREATE MATERIALIZED VIEW ranked AS SELECT * FROM (
    SELECT id, balance, rank() OVER (ORDER BY balance DESC NULLS LAST) AS place FROM accounts) AS s WHERE place <= 2;
CREATE MATERIALIZED VIEW dense_ranked AS SELECT * FROM (
    SELECT id, balance, dense_rank() OVER (ORDER BY balance DESC NULLS LAST) AS step FROM accounts) AS s WHERE step <= 2;
CREATE MATERIALIZED VIEW page_of_rows AS SELECT id, balance FROM accounts ORDER BY balance DESC NULLS LAST, id LIMIT 2 OFFSET 1;
CREATE MATERIALIZED VIEW top_append AS SELECT word, n FROM log ORDER BY n DESC, word LIMIT 2;
CREATE MATERIALIZED VIEW over_rows AS SELECT id, city, balance,
  sum(balance) OVER (PARTITION BY city ORDER BY id) AS running, lag(id) OVER (PARTITION BY city ORDER BY id) AS before FROM accounts;
CREATE MATERIALIZED VIEW over_all AS SELECT id, row_number() OVER (ORDER BY balance, id) AS place FROM accounts;

-- Joins.
CREATE MATERIALIZED VIEW join_inner AS SELECT a.id, p.name FROM accounts a JOIN people p ON a.city = p.city;
CREATE MATERIALIZED VIEW join_left AS SELECT a.id, p.name FROM accounts a LEFT JOIN people p ON a.city = p.city AND a.balance > 5;
CREATE MATERIALIZED VIEW join_right AS SELECT a.id, p.name FROM accounts a RIGHT JOIN people p ON a.id = p.id;
CREATE MATERIALIZED VIEW join_full AS SELECT a.id, p.name FROM accounts a FULL JOIN people p ON a.id = p.id;
CREATE MATERIALIZED VIEW join_semi AS SELECT name FROM people p WHERE EXISTS (SELECT 1 FROM accounts a WHERE a.city = p.city);
CREATE MATERIALIZED VIEW join_anti AS SELECT name FROM people p WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.city = p.city);
CREATE MATERIALIZED VIEW join_not_in AS SELECT name FROM people WHERE city NOT IN (SELECT city FROM accounts WHERE city IS NOT NULL);
CREATE MATERIALIZED VIEW join_mark AS SELECT name FROM people p
  WHERE city = 'Oslo' OR EXISTS (SELECT 1 FROM accounts a WHERE a.city = p.city);
CREATE MATERIALIZED VIEW join_cross AS SELECT p.name, q.name AS other FROM people p JOIN people q ON p.name < q.name;
CREATE MATERIALIZED VIEW join_three AS SELECT p.name, a.owner, b.word FROM people p
  JOIN accounts a ON a.city = p.city LEFT JOIN bag b ON b.word = a.owner;
CREATE MATERIALIZED VIEW above_average AS SELECT id, balance FROM accounts WHERE balance > (SELECT avg(balance) FROM accounts);
CREATE MATERIALIZED VIEW least_of AS
  SELECT name, (SELECT min(balance) FROM accounts a WHERE a.city = p.city) AS least FROM people p;
CREATE MATERIALIZED VIEW interval_inner AS SELECT a.id, shown, at FROM ads a JOIN clicks c
  ON a.id = c.id AND at BETWEEN shown AND shown + INTERVAL '5 minutes' EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW interval_left AS SELECT a.id, shown, at FROM ads a LEFT JOIN clicks c
  ON a.id = c.id AND at BETWEEN shown AND shown + INTERVAL '5 minutes' EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW interval_full AS SELECT a.id, c.id AS clicked, shown, at FROM ads a FULL JOIN clicks c
  ON a.id = c.id AND at BETWEEN shown AND shown + INTERVAL '5 minutes' EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW interval_left_now AS SELECT a.id, shown, at FROM ads a LEFT JOIN clicks c
  ON a.id = c.id AND at BETWEEN shown AND shown + INTERVAL '5 minutes';
CREATE MATERIALIZED VIEW interval_anti AS SELECT id, shown FROM ads a WHERE NOT EXISTS (SELECT 1 FROM clicks c
  WHERE a.id = c.id AND at >= shown AND at <= shown + INTERVAL '5 minutes') EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW interval_per_window AS SELECT window_start, count(*) AS shown, count(clicked) AS clicked
  FROM TUMBLE((SELECT shown, c.id AS clicked FROM ads a LEFT JOIN clicks c
    ON a.id = c.id AND at BETWEEN shown AND shown + INTERVAL '5 minutes'), shown, INTERVAL '10 minutes')
  GROUP BY window_start EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW asof_join AS
  SELECT t.id, q.price FROM trades AS t ASOF JOIN quotes AS q MATCH_CONDITION (t.at >= q.at) ON t.symbol = q.symbol;
CREATE MATERIALIZED VIEW as_of_now AS SELECT o.id, amount * rate AS price FROM orders AS o
  LEFT JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r ON r.currency = o.currency;

-- The clock: the moments of the rows are in the far past or in the far future.
CREATE MATERIALIZED VIEW still_to_come AS SELECT id, kind FROM events WHERE at > now() - INTERVAL '1 minute';
CREATE MATERIALIZED VIEW due AS SELECT kind, count(*) AS n FROM events WHERE now() >= at + INTERVAL '30 seconds' GROUP BY kind;

-- Windows.
CREATE MATERIALIZED VIEW tumble_update AS
  SELECT window_start, page, count(*) AS n FROM TUMBLE(hits, at, INTERVAL '10 minutes') GROUP BY window_start, page;
CREATE MATERIALIZED VIEW tumble_close AS SELECT window_start, count(*) AS n, count(DISTINCT page) AS pages
  FROM TUMBLE(hits, at, INTERVAL '10 minutes') GROUP BY window_start EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW tumble_complete AS
  SELECT window_start, sum(n) AS n FROM TUMBLE(hits, at, INTERVAL '10 minutes') GROUP BY window_start EMIT COMPLETE;
CREATE MATERIALIZED VIEW hop_close AS SELECT window_start, window_end, count(*) AS n
  FROM HOP(hits, at, INTERVAL '10 minutes', INTERVAL '20 minutes') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW session_update AS SELECT page, window_start, window_end, count(*) AS n
  FROM SESSION(hits PARTITION BY page, at, INTERVAL '5 minutes') GROUP BY page, window_start, window_end;
CREATE MATERIALIZED VIEW session_close AS SELECT page, window_start, window_end, sum(n) AS n
  FROM SESSION(hits PARTITION BY page, at, INTERVAL '5 minutes') GROUP BY page, window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW session_longest AS SELECT window_start, window_end, count(*) AS n
  FROM SESSION(hits, at, INTERVAL '5 minutes', max => INTERVAL '8 minutes') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW session_rows AS SELECT page, at, window_start, window_end
  FROM SESSION(hits PARTITION BY page, at, CASE WHEN n > 5 THEN INTERVAL '9 minutes' ELSE INTERVAL '4 minutes' END);
CREATE MATERIALIZED VIEW spark_session AS SELECT session_window(at, '5 minutes') AS w, page, count(*) AS n FROM hits
  GROUP BY session_window(at, '5 minutes'), page EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW spark_window AS
  SELECT window(at, '10 minutes') AS w, count(*) AS n FROM hits GROUP BY window(at, '10 minutes');
CREATE MATERIALIZED VIEW top_of_window AS SELECT window_start, page, n FROM (
    SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY n DESC, page) AS place FROM tumble_update) AS s WHERE place = 1;
CREATE MATERIALIZED VIEW landings AS SELECT window_start, dest, count(*) AS landed, sum(passengers) AS passengers
  FROM TUMBLE(flights, landed_at, INTERVAL '10 minutes') GROUP BY window_start, dest EMIT ON WINDOW CLOSE;

-- Sources: bad records, rows that an expression fails on, and rows that are set and removed by key.
CREATE MATERIALIZED VIEW quotients AS SELECT id, CAST(text AS INT) / divisor AS quotient FROM readings;
CREATE MATERIALIZED VIEW readings_by_divisor AS
  SELECT divisor % 2 AS odd, count(*) AS n, sum(CAST(text AS INT)) AS sum FROM readings GROUP BY divisor % 2;
CREATE MATERIALIZED VIEW cities AS SELECT city, count(*) AS n, sum(people) AS people FROM cities_by_id GROUP BY city;
CREATE MATERIALIZED VIEW small_cities AS SELECT id, people FROM cities_by_id WHERE people < 1000;

-- Views of views.
CREATE MATERIALIZED VIEW deep_one AS SELECT city, balance + 1 AS v FROM accounts WHERE balance IS NOT NULL;
CREATE MATERIALIZED VIEW deep_two AS SELECT city, sum(v) AS total, max(v) AS most FROM deep_one GROUP BY city;
CREATE MATERIALIZED VIEW deep_three AS SELECT total % 2 AS odd, count(*) AS n, min(city) AS first FROM deep_two GROUP BY 1;
CREATE MATERIALIZED VIEW deep_four AS SELECT DISTINCT n FROM deep_three;
CREATE MATERIALIZED VIEW replaced AS SELECT city, min(balance) AS least FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW over_closed AS SELECT n, count(*) AS windows FROM tumble_close GROUP BY n;

-- What has stopped.
CREATE MATERIALIZED VIEW paused AS SELECT city, count(*) AS n FROM accounts GROUP BY city;
CREATE MATERIALIZED VIEW read_once WITH (trigger = 'once') AS SELECT count(*) AS n FROM landed;

-- Sinks, and sources that read what they write.
CREATE SINK to_json AS SELECT id, text FROM readings
  WITH (connector = 'directory', path = 'out/json', format = 'json');
CREATE SINK to_parquet AS SELECT window_start, dest, count(*) AS landed FROM TUMBLE(flights, landed_at, INTERVAL '10 minutes')
  GROUP BY window_start, dest EMIT ON WINDOW CLOSE
  WITH (connector = 'directory', path = 'out/parquet', format = 'parquet', partition_by = 'dest');
CREATE SINK to_complete AS SELECT city, sum(balance) AS balance FROM accounts GROUP BY city EMIT COMPLETE
  WITH (connector = 'directory', path = 'out/complete', format = 'csv');
CREATE SINK waiting FROM log WITH (connector = 'directory', path = 'out/waiting', format = 'json');
CREATE SINK into_nothing FROM sum_of_counts WITH (connector = 'blackhole', type = 'upsert');
CREATE SOURCE from_json (id INT, text TEXT) WITH (connector = 'directory', path = 'out/json', format = 'json');
CREATE SOURCE from_parquet (window_start TIMESTAMP, dest TEXT, landed BIGINT)
  WITH (connector = 'directory', path = 'out/parquet', format = 'parquet');
CREATE SOURCE from_waiting (word TEXT, n BIGINT, x DOUBLE PRECISION, price NUMERIC(12, 2))
  WITH (connector = 'directory', path = 'out/waiting', format = 'json');
