//! Which partition is meant: of a topic, and of which life of that topic.

use std::{fmt, sync::Arc};

/// A partition as brokers know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicPartition {
    pub topic: Arc<str>,
    pub number: i32,
}

/// A partition as offsets know it. A topic that is deleted and made again begins another life, with offsets of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PartitionOffset {
    pub partition: TopicPartition,
    /// From 1.
    pub life: usize,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// The name in [`Offsets`](crate::connectors::Offsets): `topic/partition`, and `#life` where it is not the first.
impl fmt::Display for PartitionOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.life {
            1 => self.partition.fmt(f),
            life => write!(f, "{}#{life}", self.partition),
        }
    }
}

impl PartitionOffset {
    /// The place of a name; `None` for a name that is none of ours.
    pub fn parse(name: &str) -> Option<PartitionOffset> {
        let (topic, rest) = name.rsplit_once('/')?;
        let (number, life) = rest.split_once('#').unwrap_or((rest, "1"));
        let partition = TopicPartition { topic: topic.into(), number: number.parse().ok()? };
        Some(PartitionOffset { partition, life: life.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_names_roundtrip_and_malformed_ones_are_none() {
        for name in ["flights/0", "a.b-c_d/17", "t/3#2"] {
            assert_eq!(PartitionOffset::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(PartitionOffset::parse("t/3").unwrap().life, 1);
        for name in ["", "0", "t/", "t/x", "t/0#", "t/0#x"] {
            assert_eq!(PartitionOffset::parse(name), None, "{name}");
        }
    }
}
