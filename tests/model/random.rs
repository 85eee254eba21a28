//! Choices: from a seed, the same for the same one, or from bytes.
#![allow(dead_code, clippy::allow_attributes, reason = "part of two test binaries")]

pub(crate) enum Random {
    Seed(u64),
    /// What is left of them, the next one last.
    Bytes(Vec<u8>),
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random::Seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Random::Bytes(bytes.iter().rev().copied().collect())
    }

    /// True if there are no more choices to be had.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Random::Bytes(bytes) if bytes.is_empty())
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        match self {
            // xorshift64*.
            Random::Seed(state) => {
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                let number = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
                usize::try_from((number >> 32) % end as u64).expect("below end")
            }
            Random::Bytes(bytes) => {
                let mut next = || usize::from(bytes.pop().unwrap_or(0));
                let number = if end > 256 { next() << 8 | next() } else { next() };
                number % end
            }
        }
    }

    /// True once in `often` times.
    pub(crate) fn once_in(&mut self, often: usize) -> bool {
        self.below(often) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let byte = u8::try_from(self.below(255)).expect("a byte") + 1;
        (0..len)
            .map(|at| byte.wrapping_add(u8::try_from(at / 512 % 256).expect("a byte")))
            .collect()
    }
}
