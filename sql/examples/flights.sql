-- Flights land; each lands in a file. From a growing folder to a live windowed table.
-- `tidemark demo` runs these statements on a folder that it fills itself.

CREATE SOURCE flights_raw (flight TEXT, origin TEXT, dest TEXT, landed_at TIMESTAMP, passengers INT)
  WITH (connector = 'directory', path = 'data/flights', format = 'csv', header = true);

-- A row may come up to five minutes (of its own time) after a later one. What comes after that is late.
CREATE STREAM flights
  WITH WATERMARK FOR landed_at AS landed_at - INTERVAL '5 minutes'
  AS SELECT flight, origin, dest, landed_at, passengers FROM flights_raw WHERE dest IS NOT NULL;

-- Every ten minutes of landings, once, when nothing more can come.
CREATE MATERIALIZED VIEW landings AS
  SELECT window_start, dest, count(*) AS landed, sum(passengers) AS passengers
  FROM TUMBLE(flights, landed_at, INTERVAL '10 minutes')
  GROUP BY window_start, dest
  EMIT ON WINDOW CLOSE;

-- The same, always up to date.
CREATE MATERIALIZED VIEW landings_now AS
  SELECT window_start, dest, count(*) AS landed, sum(passengers) AS passengers
  FROM TUMBLE(flights, landed_at, INTERVAL '10 minutes')
  GROUP BY window_start, dest
  EMIT ON UPDATE;

-- What changes there, on the server's standard output.
CREATE SINK shown FROM landings WITH (connector = 'console');
