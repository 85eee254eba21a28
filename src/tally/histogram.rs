//! How long something took.

use std::time::Duration;

use super::Count;

/// The shortest time that is told from others, in nanoseconds.
const UNIT: u64 = 250;

/// Upper bounds of the buckets in nanoseconds, each twice the one before; what takes longer than
/// the last (4 s) has a bucket of its own.
pub const BOUNDS: [u64; 25] = {
    let mut bounds = [UNIT; 25];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 2;
        at += 1;
    }
    bounds
};

/// Times in buckets, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    nanos: Count,
}

impl Histogram {
    /// Adds `weight` that took so long.
    pub fn add(&self, took: Duration, weight: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let units = nanos.saturating_sub(1) / UNIT;
        let bits = (u64::BITS - units.leading_zeros()) as usize;
        self.buckets[bits.min(BOUNDS.len())].add(weight);
        self.nanos.add(nanos.saturating_mul(weight));
    }

    /// How many there are in each bucket.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Count::get)
    }

    /// The sum of all times in nanoseconds.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        self.nanos.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_of_its_bounds() {
        for (at, bound) in BOUNDS.into_iter().enumerate() {
            for (nanos, bucket) in [(bound - 1, at), (bound, at), (bound + 1, at + 1)] {
                let histogram = Histogram::default();
                histogram.add(Duration::from_nanos(nanos), 3);
                let found = histogram.buckets().position(|count| count == 3);
                assert_eq!(found, Some(bucket), "{nanos} ns");
                assert_eq!(histogram.nanos(), 3 * nanos);
            }
        }
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        let histogram = Histogram::default();
        histogram.add(Duration::ZERO, 1);
        histogram.add(Duration::MAX, 1);
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!((buckets[0], buckets[BOUNDS.len()]), (1, 1));
    }
}
