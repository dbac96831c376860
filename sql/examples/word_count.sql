-- A state of one's own: each word's count as a fold over the words, in the order in which they come.
CREATE FUNCTION add_count(history BIGINT, new BIGINT) RETURNS BIGINT
  LANGUAGE SQL IMMUTABLE
  RETURN history + new;

CREATE AGGREGATE running_count(BIGINT) (SFUNC = add_count, STYPE = BIGINT, INITCOND = '0');

CREATE TABLE chunks (id BIGINT, body TEXT) APPEND ONLY;

CREATE VIEW words AS
  SELECT id, unnest(string_to_array(lower(body), ' ')) AS word FROM chunks;

CREATE MATERIALIZED VIEW word_count AS
  SELECT word, running_count(1) AS seen FROM words WHERE word <> '' GROUP BY word;
