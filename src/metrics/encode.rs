//! The text that a scraper reads: OpenMetrics 1.0.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry as PrometheusRegistry,
};

use super::{
    Family,
    registry::{Labels, MetricValue, MetricsSnapshot, Registry},
};

impl Registry {
    /// All numbers in the text form of OpenMetrics. Errors are those of the formatting.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut exposition = PrometheusRegistry::default();
        exposition.register_collector(Box::new(Exposition(self.collect())));
        let mut text = String::new();
        text::encode(&mut text, &exposition)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Exposition(MetricsSnapshot);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let metrics: Vec<(Family, &Labels, &MetricValue)> = self.0.metrics().collect();
        for metrics in metrics.chunk_by(|one, next| one.0.name == next.0.name) {
            let Some((family, _, value)) = metrics.first() else { continue };
            let (name, unit) = family.declared();
            let mut described = encoder.encode_descriptor(name, family.help, unit.as_ref(), metric_type(value))?;
            for (_, labels, value) in metrics {
                match labels.is_empty() {
                    true => encode_value(&mut described, value)?,
                    false => encode_value(&mut described.encode_family(*labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn metric_type(value: &MetricValue) -> MetricType {
    match value {
        MetricValue::Counter(_) => MetricType::Counter,
        MetricValue::Gauge(_) => MetricType::Gauge,
        MetricValue::Histogram { .. } => MetricType::Histogram,
    }
}

fn encode_value(encoder: &mut MetricEncoder, value: &MetricValue) -> fmt::Result {
    match value {
        MetricValue::Counter(total) => encoder.encode_counter::<NoLabelSet, u64, f64>(total, None),
        MetricValue::Gauge(value) => encoder.encode_gauge(value),
        MetricValue::Histogram { sum, buckets } => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::metrics::{Histogram, MetricProducer};

    struct Numbers(Histogram);

    impl MetricProducer for Numbers {
        fn produce(&self, snapshot: &mut MetricsSnapshot) {
            snapshot.counter(Family::new("tidemark_test_rows_total", "Rows."), 1 << 60);
            snapshot.gauge(Family::new("tidemark_test_state_bytes", "What it holds."), Some(1.5));
            snapshot.gauge(Family::new("tidemark_test_backlog", "Nothing is known of it."), None);
            snapshot.histogram(Family::new("tidemark_test_duration_seconds", "Of each."), &self.0);
        }
    }

    #[test]
    fn encoded_registry_is_open_metrics() {
        let registry = Registry::default();
        assert_eq!(registry.encode().unwrap(), "# EOF\n");
        let (odd, plain) = (Arc::new(Numbers(Histogram::default())), Arc::new(Numbers(Histogram::default())));
        odd.0.observe(Duration::from_millis(4));
        odd.0.observe(Duration::from_secs(60));
        registry.register(vec![("query", "a \"b\"\\\n".to_string())], &odd);
        registry.register(Vec::new(), &plain);
        let text = registry.encode().unwrap();
        let few: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("_bucket") || line.contains("0.005") || line.contains("Inf"))
            .collect();
        let expected = r#"
# HELP tidemark_test_duration_seconds Of each.
# TYPE tidemark_test_duration_seconds histogram
# UNIT tidemark_test_duration_seconds seconds
tidemark_test_duration_seconds_sum 0.0
tidemark_test_duration_seconds_count 0
tidemark_test_duration_seconds_bucket{le="0.005"} 0
tidemark_test_duration_seconds_bucket{le="+Inf"} 0
tidemark_test_duration_seconds_sum{query="a \"b\"\\\n"} 60.004
tidemark_test_duration_seconds_count{query="a \"b\"\\\n"} 2
tidemark_test_duration_seconds_bucket{le="0.005",query="a \"b\"\\\n"} 1
tidemark_test_duration_seconds_bucket{le="+Inf",query="a \"b\"\\\n"} 2
# HELP tidemark_test_rows Rows.
# TYPE tidemark_test_rows counter
tidemark_test_rows_total 1152921504606846976
tidemark_test_rows_total{query="a \"b\"\\\n"} 1152921504606846976
# HELP tidemark_test_state_bytes What it holds.
# TYPE tidemark_test_state_bytes gauge
# UNIT tidemark_test_state_bytes bytes
tidemark_test_state_bytes 1.5
tidemark_test_state_bytes{query="a \"b\"\\\n"} 1.5
# EOF"#;
        assert_eq!(few.join("\n"), expected.trim_start());
    }

    #[test]
    fn samples_are_the_lines_of_the_text() {
        let registry = Registry::default();
        let numbers = Arc::new(Numbers(Histogram::default()));
        numbers.0.observe(Duration::from_secs(1));
        registry.register(Vec::new(), &numbers);
        let text = registry.encode().unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(' ').next().unwrap().to_string())
            .collect();
        let spelled =
            |labels: &Labels| labels.iter().map(|(key, value)| format!("{{{key}=\"{value}\"}}")).collect::<String>();
        let mut samples: Vec<String> =
            registry.collect().samples().iter().map(|s| format!("{}{}", s.name, spelled(&s.labels))).collect();
        lines.sort_unstable();
        samples.sort_unstable();
        assert_eq!(samples, lines);
    }
}
