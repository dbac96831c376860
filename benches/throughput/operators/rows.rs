//! The rows of the operators' part, made by SQL: the same in a table, in a file, and in a batch answer.
//!
//! | column | of row n | |
//! | --- | --- | --- |
//! | `id` | n | one row each |
//! | `key` | scattered | all over the rows |
//! | `burst` | n / 10 | ten rows in a row |
//! | `v` | looks like chance | |
//! | `ts` | a millisecond after the one before | |

/// As a table or a source declares them.
pub const COLUMNS: &str = "id BIGINT, key BIGINT, burst BIGINT, v BIGINT, ts TIMESTAMP";

/// 2024-01-01
const FIRST_US: i64 = 1_704_067_200_000_000;

/// Rows by number, of so many keys.
pub fn select(from: i64, to: i64, keys: i64) -> String {
    format!(
        "SELECT value AS id, value * 7919 % {keys} AS key, value / 10 AS burst, value * 104729 % 1000003 AS v,
             to_timestamp_micros({FIRST_US} + value * 1000) AS ts FROM generate_series({from}, {to})"
    )
}

/// A row as that of a number, but for its value.
pub fn again(number: i64, keys: i64, v: i64) -> String {
    let (key, burst) = (number * 7919 % keys, number / 10);
    let (second, milli) = (number / 1000, number % 1000);
    format!(
        "({number}, {key}, {burst}, {v},
         TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '{second} seconds' + INTERVAL '{milli} milliseconds')"
    )
}
