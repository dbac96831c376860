//! An order-independent hash of changes: the sum over the rows of diff × hash of the row, modulo 2^64. Neither the order
//! of the rows counts, nor one that came and went again (a homomorphic multiset hash; Clarke et al., "Incremental
//! Multiset Hash Functions", ASIACRYPT 2003, whose sum is over a group of this kind). It finds accidents, not attacks.

use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use serde::{Deserialize, Serialize};

use super::Changes;

/// Raised whenever the hash of a row may have become another, which a test below tells: hashes of two versions say nothing
/// of each other.
const VERSION: u16 = 1;

/// What some changes add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesHash {
    version: u16,
    sum: u64,
}

impl ChangesHash {
    /// `None` where a column has a type that has no hash.
    pub fn of(changes: &Changes) -> Option<ChangesHash> {
        let mut hashes = vec![0; changes.num_rows()];
        create_hashes(changes.rows().columns(), &QualityRandomState::with_seed(0), &mut hashes).ok()?;
        let sum = match changes.diffs() {
            None => hashes.iter().fold(0, |sum: u64, hash| sum.wrapping_add(*hash)),
            Some(diffs) => {
                let weighted = hashes.iter().zip(diffs.values()).map(|(hash, diff)| hash.wrapping_mul(*diff as u64));
                weighted.fold(0, u64::wrapping_add)
            }
        };
        Some(ChangesHash { version: VERSION, sum })
    }

    /// That of both one after the other.
    pub fn plus(self, other: ChangesHash) -> ChangesHash {
        ChangesHash { version: self.version, sum: self.sum.wrapping_add(other.sum) }
    }

    /// Whether the two are certainly of other changes.
    pub fn contradicts(self, other: ChangesHash) -> bool {
        self.version == other.version && self.sum != other.sum
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

    use super::*;

    fn changes(rows: &[(Option<i64>, &str, i64)]) -> Changes {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|(n, ..)| *n).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|(_, text, _)| Some(*text)).collect::<StringArray>());
        let floats: ArrayRef = Arc::new(rows.iter().map(|(n, ..)| n.map(|n| n as f64 / 3.0)).collect::<Float64Array>());
        let rows_ = RecordBatch::try_from_iter([("n", numbers), ("s", texts), ("x", floats)]).unwrap();
        Changes::new(rows_, rows.iter().map(|(.., diff)| *diff).collect::<Int64Array>())
    }

    fn hash(rows: &[(Option<i64>, &str, i64)]) -> ChangesHash {
        ChangesHash::of(&changes(rows)).unwrap()
    }

    #[test]
    fn hash_same_rows_in_another_order_is_equal() {
        let one = hash(&[(Some(1), "a", 1), (None, "b", 1), (Some(1), "a", 1), (Some(2), "c", -1)]);
        assert_eq!(one, hash(&[(Some(2), "c", -1), (Some(1), "a", 2), (None, "b", 1)]));
        assert_eq!(
            one,
            hash(&[(None, "b", 1), (Some(9), "z", 1), (Some(1), "a", 2)])
                .plus(hash(&[(Some(9), "z", -1), (Some(2), "c", -1)]))
        );
        assert_eq!(hash(&[]), hash(&[(Some(1), "a", 1), (Some(1), "a", -1)]));
    }

    #[test]
    fn hash_of_insert_only_changes_is_that_of_diffs_of_one() {
        let with = changes(&[(Some(1), "a", 1), (None, "b", 1)]);
        let without = Changes::insert(with.rows().clone());
        assert_eq!(ChangesHash::of(&with), ChangesHash::of(&without));
    }

    #[test]
    fn hash_other_rows_contradict() {
        let one = hash(&[(Some(1), "a", 1), (Some(2), "b", 1)]);
        for other in [
            hash(&[(Some(1), "b", 1), (Some(2), "a", 1)]),
            hash(&[(Some(1), "a", 1)]),
            hash(&[(Some(1), "a", 1), (Some(2), "b", -1)]),
            hash(&[(None, "a", 1), (Some(2), "b", 1)]),
        ] {
            assert!(one.contradicts(other), "{other:?}");
        }
        assert!(!one.contradicts(ChangesHash { version: VERSION + 1, sum: 0 }), "another function says nothing");
    }

    /// Where this fails after a change of versions, raise [`VERSION`] and write the new number here.
    #[test]
    fn hash_of_a_row_is_what_this_version_wrote() {
        assert_eq!(
            hash(&[(Some(1), "a", 1), (None, "b", -1)]),
            ChangesHash { version: 1, sum: 2_149_519_785_597_016_551 }
        );
    }
}
