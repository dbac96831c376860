//! `relations::SharedRelation` and `relations::Subscriber` over threads whose order is drawn.

#![allow(dead_code, clippy::duplicate_mod, reason = "files of another room, of which tests call a part")]

use shuttle::sync;

#[path = "../relations/shared.rs"]
mod shared;
#[path = "../relations/subscriber.rs"]
mod subscriber;

pub use shared::{SharedRelation, SnapshotBarrier, at_one_moment};
pub use subscriber::Subscriber;

use crate::relations::{Relation, Snapshot};
