//! A queue that is bounded by number and by bytes: beyond its limit the oldest go.

use std::collections::VecDeque;

/// How much a queue keeps: beyond either, the oldest go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    pub rows: usize,
    pub bytes: u64,
}

/// What a value holds on the heap. It stays the same while the value is in a queue.
pub trait HeapBytes {
    fn heap_bytes(&self) -> usize;
}

/// Values in the order in which they came, each with a number of its own: 1 for the first, and never given again.
#[derive(Debug)]
pub struct BoundedQueue<T> {
    /// In the order of their numbers.
    entries: VecDeque<(i64, T)>,
    bytes: u64,
    limit: QueueLimit,
    last_number: i64,
}

impl<T: HeapBytes> BoundedQueue<T> {
    pub fn new(limit: QueueLimit) -> Self {
        BoundedQueue { entries: VecDeque::new(), bytes: 0, limit, last_number: 0 }
    }

    /// Adds a value, beyond the limit too: [`pop_excess`](Self::pop_excess) takes out what is too many.
    pub fn push(&mut self, value: T) {
        self.bytes += Self::bytes_of(&value);
        self.last_number += 1;
        self.entries.push_back((self.last_number, value));
    }

    /// The oldest value, where the queue is beyond its limit.
    pub fn pop_excess(&mut self) -> Option<T> {
        if self.entries.len() <= self.limit.rows && self.bytes <= self.limit.bytes {
            return None;
        }
        let (_, oldest) = self.entries.pop_front()?;
        self.bytes -= Self::bytes_of(&oldest);
        Some(oldest)
    }

    /// Takes out some values, wherever they are; the others keep their numbers.
    pub fn remove_where(&mut self, is_gone: impl Fn(&T) -> bool) -> Vec<T> {
        let entries = std::mem::take(&mut self.entries);
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = entries.into_iter().partition(|(_, value)| is_gone(value));
        self.entries = kept;
        self.bytes -= gone.iter().map(|(_, value)| Self::bytes_of(value)).sum::<u64>();
        gone.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a number, while it is there.
    pub fn get(&self, number: i64) -> Option<&T> {
        let at = self.entries.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, number: i64) -> Option<&mut T> {
        let at = self.entries.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// The values with their numbers, the oldest first.
    pub fn numbered(&self) -> impl DoubleEndedIterator<Item = (i64, &T)> {
        self.entries.iter().map(|(number, value)| (*number, value))
    }

    /// The number of values, and what they take in memory.
    pub fn size(&self) -> QueueLimit {
        QueueLimit { rows: self.entries.len(), bytes: self.bytes }
    }

    /// The values, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    fn bytes_of(value: &T) -> u64 {
        (size_of::<(i64, T)>() + value.heap_bytes()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HeapBytes for String {
        fn heap_bytes(&self) -> usize {
            self.len()
        }
    }

    const ENTRY_BYTES: u64 = size_of::<(i64, String)>() as u64;

    fn queue(rows: usize, bytes: u64) -> BoundedQueue<String> {
        BoundedQueue::new(QueueLimit { rows, bytes })
    }

    fn push_all(queue: &mut BoundedQueue<String>, values: &[&str]) -> Vec<String> {
        values.iter().for_each(|value| queue.push(value.to_string()));
        std::iter::from_fn(|| queue.pop_excess()).collect()
    }

    fn numbered(queue: &BoundedQueue<String>) -> Vec<(i64, &str)> {
        queue.numbered().map(|(number, value)| (number, value.as_str())).collect()
    }

    #[test]
    fn bounded_queue_beyond_its_number_is_cut_from_the_front() {
        let mut queue = queue(2, 1 << 20);
        assert!(push_all(&mut queue, &["a", "b"]).is_empty());
        assert_eq!(push_all(&mut queue, &["c", "d", "e"]), ["a", "b", "c"]);
        assert_eq!(numbered(&queue), [(4, "d"), (5, "e")]);
    }

    #[test]
    fn bounded_queue_beyond_its_bytes_is_cut_from_the_front() {
        let mut queue = queue(100, 2 * ENTRY_BYTES + 10);
        assert!(push_all(&mut queue, &["12345", "12345"]).is_empty(), "exactly the limit");
        assert_eq!(push_all(&mut queue, &["1"]), ["12345"]);
        assert_eq!(push_all(&mut queue, &[&"x".repeat(1_000)]).len(), 3, "one alone may be too long");
        assert_eq!(queue.bytes, 0);
        assert!(push_all(&mut queue, &["12345", "12345"]).is_empty());
    }

    #[test]
    fn bounded_queue_of_no_rows_keeps_none() {
        let mut queue = queue(0, 1 << 20);
        assert_eq!(push_all(&mut queue, &["a"]), ["a"]);
        assert_eq!(queue.pop_excess(), None);
    }

    #[test]
    fn bounded_queue_numbers_stay_when_others_go() {
        let mut queue = queue(3, 3 * ENTRY_BYTES + 3);
        push_all(&mut queue, &["a", "b", "c"]);
        assert_eq!(queue.remove_where(|value| value == "b"), ["b"]);
        assert_eq!(queue.bytes, 2 * ENTRY_BYTES + 2);
        assert_eq!((queue.get(1).cloned(), queue.get(2), queue.get(4)), (Some("a".to_string()), None, None));
        *queue.get_mut(3).unwrap() = "C".to_string();
        assert!(push_all(&mut queue, &["d"]).is_empty());
        assert_eq!(numbered(&queue), [(1, "a"), (3, "C"), (4, "d")]);
        assert_eq!(queue.remove_where(|_| true).len(), 3);
        push_all(&mut queue, &["e"]);
        assert_eq!(numbered(&queue), [(5, "e")]);
    }
}
