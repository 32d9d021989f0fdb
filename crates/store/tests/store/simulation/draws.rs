//! Random numbers of a simulation: all come from its seed.

use std::time::Duration;

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// A source of random numbers that gives the same ones for the same seed and purpose.
#[derive(Debug)]
pub(super) struct Draws(TestRng);

impl Draws {
    /// The numbers for one part of the simulation, so that no part depends on how often another
    /// one draws.
    pub(super) fn new(seed: u64, purpose: &str, number: usize) -> Self {
        let name = format!("{seed} {purpose} {number}");
        let digest = tollhouse_core::secret::Digest::of(name.as_bytes());
        let half = digest.0.first_chunk::<16>().unwrap();
        Self(TestRng::from_seed(RngAlgorithm::XorShift, half))
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// True this many times in a hundred.
    pub(super) fn percent(&mut self, times: usize) -> bool {
        self.below(100) < times
    }

    /// A duration between two numbers of milliseconds.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.random_range(least..=most))
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.0.random())
    }
}
