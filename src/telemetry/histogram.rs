//! A histogram of durations that every worker can observe without a lock.
//!
//! The library's own histogram takes a mutex for each observation, and all workers would share it.
//! Here an observation is two additions to atomics. A scrape may therefore see one of the two a
//! moment before the other, which does not matter for a histogram.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The bounds of the buckets, in seconds, as OpenTelemetry advises for
/// `http.server.request.duration`. The last bucket takes everything that is longer.
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

/// A histogram of durations. Clones share their counters, so a route can keep a handle. `Metrics`
/// registers it as a metric of the library; only the counting is done here.
#[derive(Clone, Debug, Default)]
pub(super) struct DurationHistogram(Arc<BucketCounts>);

#[derive(Debug, Default)]
struct BucketCounts {
    buckets: [AtomicU64; BUCKETS.len()],
    /// The sum in whole microseconds; 64 bits are enough for 584,000 years.
    sum: AtomicU64,
}

impl DurationHistogram {
    /// Adds one duration to its bucket and to the sum. A duration is put into the first bucket
    /// whose bound it does not exceed; the encoder adds the buckets up, as the format demands.
    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKETS.iter().zip(&self.0.buckets).find(|(bound, _)| seconds <= **bound);
        if let Some((_, count)) = bucket {
            // Relaxed ordering is enough, since the counters are independent of each other and of
            // all other memory.
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.sum.fetch_add(micros, Ordering::Relaxed);
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = BUCKETS.into_iter().zip(counts).collect();
        // The count is computed from the buckets. A counter of its own could differ from their sum
        // within one scrape, and readers of the format may reject that.
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
        let durations = DurationHistogram::default();
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
