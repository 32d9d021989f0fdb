//! A histogram of durations that every worker observes without a lock.
//!
//! The library's own takes a mutex for each observation, which all workers would share. Here an
//! observation is two additions to atomics; a scrape may see one a moment before the other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// OpenTelemetry's advice for `http.server.request.duration`, in seconds.
const BUCKETS: [f64; 15] = [
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    f64::INFINITY,
];

/// Clones share what they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS.len()],
    /// Whole microseconds: 584,000 years of them fit.
    sum: AtomicU64,
}

impl Durations {
    /// Counts one duration.
    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKETS.iter().zip(&self.0.buckets).find(|(bound, _)| seconds <= **bound);
        if let Some((_, count)) = bucket {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.sum.fetch_add(micros, Ordering::Relaxed);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = BUCKETS.into_iter().zip(counts).collect();
        // Counted from the buckets, or the two could differ within one scrape.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.0.sum.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn durations_are_told_like_any_other_histogram() {
        let durations = Durations::default();
        for millis in [0, 5, 6, 20_000] {
            durations.observe(Duration::from_millis(millis));
        }
        let mut registry = Registry::default();
        registry.register("d", "Durations", durations);

        let mut text = String::new();
        encode(&mut text, &registry).unwrap();

        for line in [
            "# TYPE d histogram",
            "d_sum 20.011",
            "d_count 4",
            "d_bucket{le=\"0.005\"} 2",
            "d_bucket{le=\"0.01\"} 3",
            "d_bucket{le=\"10.0\"} 3",
            "d_bucket{le=\"+Inf\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
