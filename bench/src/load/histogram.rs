//! Latencies, kept in little memory and with little effort.

use std::time::Duration;

/// Values within 1/64 of one another share a bucket.
const PRECISION: u32 = 6;
const STEPS: usize = 1 << PRECISION;
const BUCKETS: usize = STEPS * (64 - PRECISION as usize + 1);

/// How often which latency was seen, to within 1.6 percent.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u32]>,
    count: u64,
}

impl Histogram {
    /// One that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Histogram { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0 }
    }

    /// Notes a latency.
    pub fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
    }

    /// Notes all that another has seen.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
    }

    /// The latency that `thousandths` of all do not exceed, 0 if there are none.
    #[must_use]
    pub fn quantile(&self, thousandths: u64) -> Duration {
        let wanted = (self.count * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        Duration::from_nanos(at.map_or(0, highest))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(value: u64) -> usize {
    let shift = value.max(1).ilog2().saturating_sub(PRECISION);
    let step = usize::try_from(value >> shift).expect("below 128");
    shift as usize * STEPS + step
}

/// The largest value in a bucket.
fn highest(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = (bucket - shift * STEPS) as u64;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_again_to_within_a_64th() {
        for value in (0..2000).chain((11..40).map(|bits| (1 << bits) + (1 << (bits / 2)))) {
            let top = highest(bucket(value));
            assert!(value <= top && top - value <= value / 64, "{value} {top}");
        }
    }

    #[test]
    fn quantiles_count_from_the_lowest() {
        let mut seen = Histogram::new();
        assert_eq!(seen.quantile(500), Duration::ZERO);
        (1..=100).for_each(|value| seen.add(Duration::from_nanos(value)));
        let mut other = Histogram::new();
        other.merge(&seen);
        assert_eq!(other.quantile(0), Duration::from_nanos(1));
        assert_eq!(other.quantile(500), Duration::from_nanos(50));
        assert_eq!(other.quantile(1000), Duration::from_nanos(100));
    }
}
