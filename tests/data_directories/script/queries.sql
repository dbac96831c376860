SELECT * FROM plain
SELECT name, kind, state, late, dead_letters, last_error FROM tidemark.queries
SELECT query, count(*) FROM tidemark.late_rows GROUP BY query
SELECT source, CASE WHEN epoch IS NOT NULL THEN query END AS query, line, raw::TEXT AS raw, reason, replayed_at IS NULL AS waits FROM tidemark.dead_letters
SELECT add_count(1, 2), sum(running_count) FROM (SELECT running_count(balance) AS running_count FROM accounts WHERE balance > 0) AS a
CREATE SOURCE from_complete (city TEXT, balance BIGINT) WITH (connector = 'directory', path = 'out/complete', format = 'csv'); SELECT * FROM from_complete; DROP SOURCE from_complete
SHOW SECRETS
SHOW SINKS
SHOW VIEWS
SHOW FUNCTIONS
