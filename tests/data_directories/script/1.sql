-- The first rows: they end up in a checkpoint that is whole.
INSERT INTO typed VALUES
  (1, 1, 10000000000, 1.5, 2.25, 12.34, 'one', true, '2024-02-29', '12:34:56.789', '2024-01-01 00:00:00.000001',
    '2024-01-01 00:00:00+00', '\x00ff', ARRAY[1, 2, NULL], named_struct('a', 1::INT, 'b', 'x'), 'noted');
INSERT INTO typed (id, word) VALUES (2, 'two'), (3, '');
INSERT INTO typed (id, word, double, single, list) VALUES (4, 'ünïcode 🙂', -0.5, 3.25, ARRAY[7]);
INSERT INTO people VALUES (1, 'ann', 'Oslo'), (2, 'bob', 'Rome'), (3, 'cyd', 'Kiel'), (4, 'dan', NULL);
INSERT INTO accounts VALUES
  (1, 'ada', 'Oslo', 1, 0.5, 1.10), (2, 'bob', 'Rome', 5, 1.5, 2.20), (3, 'ada', 'Rome', 7, 2.5, 3.30),
  (4, 'eve', NULL, NULL, NULL, NULL), (5, 'fay', 'Bonn', 12, 0.25, 5.50);
INSERT INTO bag VALUES ('p', 1), ('p', 1), ('q', 2), (NULL, NULL), ('ada', 3);
INSERT INTO log VALUES ('to', 1, 0.5, 1.01), ('be', 2, 1.5, 2.02), ('to', 3, 0.25, 3.03), (NULL, 4, NULL, NULL);
INSERT INTO two_keys VALUES (1, 'a', 1), (1, 'b', 2), (2, 'a', 3);
INSERT INTO hits VALUES ('a', '2024-01-01 00:01:00', 1), ('a', '2024-01-01 00:04:00', 9), ('b', '2024-01-01 00:02:00', 2),
  ('a', '2024-01-01 00:01:00', 3), ('b', NULL, 4);
INSERT INTO ads VALUES (1, '2024-01-01 00:00:00'), (2, '2024-01-01 00:01:00'), (3, '2024-01-01 00:09:00');
INSERT INTO clicks VALUES (1, '2024-01-01 00:04:00'), (2, '2024-01-01 00:06:01'), (9, '2024-01-01 00:02:00');
INSERT INTO quotes VALUES ('a', '2024-01-01 10:00:00', 1), ('a', '2024-01-01 10:10:00', 2), ('b', '2024-01-01 10:00:00', 9);
INSERT INTO trades VALUES (1, 'a', '2024-01-01 10:10:00'), (2, 'a', '2024-01-01 09:00:00'), (3, 'c', '2024-01-01 11:00:00');
INSERT INTO rates VALUES ('EUR', 2), ('USD', 1);
FLUSH;
INSERT INTO orders VALUES (1, 'EUR', 10), (2, 'USD', 10), (3, 'GBP', 10);
INSERT INTO events VALUES (1, '2001-01-01 00:00:00', 'past'), (2, '2201-01-01 00:00:00', 'future'), (3, NULL, 'never');
FLUSH;
