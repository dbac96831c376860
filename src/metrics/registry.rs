//! Who has numbers, and what they are now.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use super::{Family, Histogram};
use crate::sync::locked;

/// What tells the metrics of a family apart: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// Whatever has numbers about itself.
pub trait MetricProducer: Send + Sync {
    /// Tells what they are now. Those that it does not tell are not shown.
    fn produce(&self, snapshot: &mut MetricsSnapshot);
}

/// All that has numbers in one server.
#[derive(Default)]
pub struct Registry {
    /// In the order in which they came.
    producers: Mutex<Vec<(Labels, Weak<dyn MetricProducer>)>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("producers", &locked(&self.producers).len()).finish()
    }
}

impl Registry {
    /// Shows the numbers of `producer` for as long as it is there. Where two have a family and all labels in common, the
    /// later one is shown.
    pub fn register<P: MetricProducer + 'static>(&self, labels: Labels, producer: &Arc<P>) {
        let producer: Weak<P> = Arc::downgrade(producer);
        let producer: Weak<dyn MetricProducer> = producer;
        let mut producers = locked(&self.producers);
        producers.retain(|(_, producer)| producer.strong_count() > 0);
        producers.push((labels, producer));
    }

    /// All numbers as they are now.
    pub fn collect(&self) -> MetricsSnapshot {
        let producers = locked(&self.producers).clone();
        let mut snapshot = MetricsSnapshot::default();
        for (labels, producer) in producers {
            if let Some(producer) = producer.upgrade() {
                snapshot.labels = labels;
                producer.produce(&mut snapshot);
            }
        }
        snapshot
    }
}

/// Numbers of one moment, in the order of their families and labels.
#[derive(Debug, Default)]
pub struct MetricsSnapshot {
    /// Of the producer that tells its numbers.
    labels: Labels,
    metrics: BTreeMap<(&'static str, Labels), (Family, MetricValue)>,
}

#[derive(Debug, Clone, PartialEq)]
enum MetricValue {
    Counter(u64),
    Gauge(f64),
    /// As [`Histogram`] gives it.
    Histogram {
        sum: f64,
        buckets: Vec<(f64, u64)>,
    },
}

/// One number, as a client reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The family's name; of a histogram, what of it is told is added: `_bucket`, `_count`, `_sum`.
    pub name: String,
    pub labels: Labels,
    pub value: f64,
    /// What the number is: a sentence.
    pub help: &'static str,
}

impl MetricsSnapshot {
    fn add(&mut self, family: Family, value: MetricValue) {
        debug_assert_eq!(family.is_total(), matches!(value, MetricValue::Counter(_)), "{}", family.name);
        self.metrics.insert((family.name, self.labels.clone()), (family, value));
    }

    pub fn counter(&mut self, family: Family, total: u64) {
        self.add(family, MetricValue::Counter(total));
    }

    /// In the unit that the name of the family says.
    pub fn gauge(&mut self, family: Family, value: Option<f64>) {
        if let Some(value) = value {
            self.add(family, MetricValue::Gauge(value));
        }
    }

    pub fn histogram(&mut self, family: Family, histogram: &Histogram) {
        let (sum, buckets) = histogram.get();
        self.add(family, MetricValue::Histogram { sum, buckets });
    }

    fn metrics(&self) -> impl Iterator<Item = (Family, &Labels, &MetricValue)> {
        self.metrics.iter().map(|((_, labels), (family, value))| (*family, labels, value))
    }

    /// Each number by itself.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (family, labels, value) in self.metrics() {
            let mut sample = |suffix: &str, labels: Labels, value: f64| {
                samples.push(Sample { name: format!("{}{suffix}", family.name), labels, value, help: family.help });
            };
            match value {
                MetricValue::Counter(total) => sample("", labels.clone(), *total as f64),
                MetricValue::Gauge(value) => sample("", labels.clone(), *value),
                MetricValue::Histogram { sum, buckets } => {
                    let mut count = 0;
                    for (bound, of_bucket) in buckets {
                        count += of_bucket;
                        let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_string() };
                        let labels = labels.iter().cloned().chain([("le", bound)]).collect();
                        sample("_bucket", labels, count as f64);
                    }
                    sample("_count", labels.clone(), count as f64);
                    sample("_sum", labels.clone(), *sum);
                }
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROWS: Family = Family::new("tidemark_test_rows", "Rows.");

    struct Rows(f64);

    impl MetricProducer for Rows {
        fn produce(&self, snapshot: &mut MetricsSnapshot) {
            snapshot.gauge(ROWS, Some(self.0));
        }
    }

    fn shown(registry: &Registry) -> Vec<(String, f64)> {
        let of = |sample: Sample| (sample.labels.into_iter().map(|(_, value)| value).collect(), sample.value);
        registry.collect().samples().into_iter().map(of).collect()
    }

    fn label(value: &str) -> Labels {
        vec![("query", value.to_string())]
    }

    #[test]
    fn registry_whose_producer_is_dropped_has_no_series_of_it() {
        let registry = Registry::default();
        let (a, b) = (Arc::new(Rows(1.0)), Arc::new(Rows(2.0)));
        registry.register(label("a"), &a);
        registry.register(label("b"), &b);
        assert_eq!(shown(&registry), [("a".to_string(), 1.0), ("b".to_string(), 2.0)]);
        drop(a);
        assert_eq!(shown(&registry), [("b".to_string(), 2.0)]);
        registry.register(label("c"), &b);
        assert_eq!(locked(&registry.producers).len(), 2, "what is gone is forgotten");
    }

    struct Durations(Histogram);

    impl MetricProducer for Durations {
        fn produce(&self, snapshot: &mut MetricsSnapshot) {
            snapshot.histogram(Family::new("tidemark_test_duration_seconds", "Of each."), &self.0);
        }
    }

    #[test]
    fn histogram_samples_are_cumulative_buckets_count_and_sum() {
        let (registry, durations) = (Registry::default(), Arc::new(Durations(Histogram::default())));
        [4, 4, 60_000].map(Duration::from_millis).into_iter().for_each(|took| durations.0.observe(took));
        registry.register(label("a"), &durations);
        let samples = registry.collect().samples();
        let of = |suffix: &str, bound: Option<&str>| {
            let name = format!("tidemark_test_duration_seconds{suffix}");
            let le = |sample: &&Sample| sample.labels.iter().find(|(key, _)| *key == "le").map(|(_, le)| le.clone());
            let found: Vec<&Sample> = samples.iter().filter(|s| s.name == name && le(s).as_deref() == bound).collect();
            assert!(found.iter().all(|sample| sample.labels[0] == label("a")[0] && sample.help == "Of each."));
            found.iter().map(|sample| sample.value).collect::<Vec<_>>()
        };
        assert_eq!(of("_bucket", Some("0.0025")), [0.0]);
        assert_eq!(of("_bucket", Some("0.005")), [2.0]);
        assert_eq!(of("_bucket", Some("+Inf")), [3.0]);
        assert_eq!((of("_count", None), of("_sum", None)), (vec![3.0], vec![60.008]));
    }

    #[test]
    fn registry_with_two_of_the_same_labels_shows_the_later_one() {
        let registry = Registry::default();
        let (old, new) = (Arc::new(Rows(1.0)), Arc::new(Rows(2.0)));
        registry.register(label("a"), &old);
        registry.register(label("a"), &new);
        assert_eq!(shown(&registry), [("a".to_string(), 2.0)]);
        drop(old);
        assert_eq!(shown(&registry), [("a".to_string(), 2.0)]);
    }
}
