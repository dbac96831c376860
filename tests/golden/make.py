#!/usr/bin/env python3
"""Makes the files here, with libraries that are not ours: fastavro, and Python's own json and csv.

    pip install fastavro && python3 tests/golden/make.py

Each file holds the rows of ROWS. A malformed twin, *_bad, has something broken in its second block, message or line.
"""

import csv
import datetime as dt
import decimal
import io
import json
import pathlib

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

HERE = pathlib.Path(__file__).parent
UTC = dt.timezone.utc

SCHEMA = {
    "type": "record",
    "name": "Flight",
    "namespace": "org.example",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "origin", "type": ["null", "string"], "default": None},
        {"name": "delay", "type": "double"},
        {"name": "landed_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["CARGO", "PASSENGER"]}},
        {"name": "stops", "type": {"type": "array", "items": "string"}},
        {
            "name": "plane",
            "type": {
                "type": "record",
                "name": "Plane",
                "fields": [{"name": "seats", "type": "int"}, {"name": "model", "type": ["null", "string"]}],
            },
        },
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
    ],
}


def rows():
    for n in range(300):
        yield {
            "id": n,
            "origin": None if n % 7 == 0 else f"airport é {n % 5}",
            "delay": n / 4,
            "landed_at": dt.datetime(2024, 1, 2, 3, 4, 5, 678, UTC) + dt.timedelta(minutes=n),
            "day": dt.date(2024, 1, 2) + dt.timedelta(days=n),
            "kind": ["CARGO", "PASSENGER"][n % 2],
            "stops": [f"stop {i}" for i in range(n % 3)],
            "plane": {"seats": n % 400, "model": None if n % 2 else "A320"},
            "price": decimal.Decimal(n * 101) / 100,
        }


def plain(row):
    """A row as JSON says it."""
    return dict(row, landed_at=row["landed_at"].isoformat(), day=row["day"].isoformat(), price=str(row["price"]))


def main():
    schema = fastavro.parse_schema(SCHEMA)
    all_rows = list(rows())
    (HERE / "flights.avsc").write_text(json.dumps(SCHEMA, indent=1) + "\n")

    packed = io.BytesIO()
    fastavro.writer(packed, schema, all_rows, codec="deflate", sync_interval=2000, sync_marker=b"sixteen letters!")
    packed = packed.getvalue()
    (HERE / "flights.avro").write_bytes(packed)
    # The last block is cut off in its middle.
    (HERE / "flights_bad.avro").write_bytes(packed[: -60])

    mark = bytes.fromhex(fingerprint(to_parsing_canonical_form(SCHEMA), "CRC-64-AVRO"))
    lines, bad = [], []
    for n, row in enumerate(all_rows[:30]):
        value = io.BytesIO()
        fastavro.schemaless_writer(value, schema, row)
        value = value.getvalue()
        header = [b"\xc3\x01" + mark, b"\x00" + (42).to_bytes(4, "big")][n % 2]
        lines.append((header + value).hex())
        bad.append((header + (value[:-3] if n == 1 else value)).hex())
    (HERE / "flights.avro.hex").write_text("\n".join(lines) + "\n")
    (HERE / "flights_bad.avro.hex").write_text("\n".join(bad) + "\n")

    texts = [json.dumps(plain(row), ensure_ascii=n % 2 == 0) for n, row in enumerate(all_rows)]
    (HERE / "flights.json").write_text("\n".join(texts) + "\n")
    texts[1] = texts[1].replace('"delay": 0.25', '"delay": "soon"')
    (HERE / "flights_bad.json").write_text("\n".join(texts) + "\n")

    flat = ["id", "origin", "delay", "landed_at", "day", "kind", "price"]
    for name, broken in (("flights.csv", False), ("flights_bad.csv", True)):
        with open(HERE / name, "w", newline="") as file:
            writer = csv.DictWriter(file, flat, extrasaction="ignore")
            writer.writeheader()
            for n, row in enumerate(all_rows):
                row = plain(row)
                writer.writerow(dict(row, delay="soon") if broken and n == 1 else row)


if __name__ == "__main__":
    main()
