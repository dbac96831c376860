//! Which partition is meant: of a topic, and of which life of that topic.

use std::{fmt, sync::Arc};

/// A partition as brokers know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition {
    pub topic: Arc<str>,
    pub number: i32,
}

/// A partition as offsets know it. A topic that is deleted and made again begins another life, with offsets of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub partition: Partition,
    /// From 1.
    pub life: usize,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// The name in [`Offsets`](crate::connectors::Offsets): `topic/partition`, and `#life` where it is not the first.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.life {
            1 => self.partition.fmt(f),
            life => write!(f, "{}#{life}", self.partition),
        }
    }
}

impl Place {
    /// The place of a name; `None` for a name that is none of ours.
    pub fn parse(name: &str) -> Option<Place> {
        let (topic, rest) = name.rsplit_once('/')?;
        let (number, life) = rest.split_once('#').unwrap_or((rest, "1"));
        let partition = Partition { topic: topic.into(), number: number.parse().ok()? };
        Some(Place { partition, life: life.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["flights/0", "a.b-c_d/17", "t/3#2"] {
            assert_eq!(Place::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(Place::parse("t/3").unwrap().life, 1);
        for name in ["", "0", "t/", "t/x", "t/0#", "t/0#x"] {
            assert_eq!(Place::parse(name), None, "{name}");
        }
    }
}
