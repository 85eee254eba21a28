//! What a fuzzer does, in small and the same every time: for tests.

/// Gives `body` all seeds, and `rounds` changed and mixed ones. Says which input made it panic.
pub(crate) fn run(seeds: &[Vec<u8>], rounds: usize, body: impl Fn(&[u8])) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut inputs = seeds.to_vec();
    for _ in 0..rounds {
        let mut input = dice.one_of(seeds).clone();
        let mut changes = 1 + dice.below(6);
        while changes > 0 && !input.is_empty() {
            changes -= 1;
            let at = dice.below(input.len());
            match dice.below(6) {
                0 => input.truncate(at),
                1 => input[at] = dice.byte(),
                2 => input[at] ^= 1 << dice.below(8),
                3 => input[at] = *dice.one_of(&[0, 1, 2, 4, 7, 8, 0x7f, 0x80, 0xff]),
                4 => input.insert(at, dice.byte()),
                _ => {
                    let other = dice.one_of(seeds);
                    let from = dice.below(other.len() + 1);
                    input.splice(at.., other[from..].iter().copied());
                }
            }
        }
        inputs.push(input);
    }
    for input in inputs {
        let told = Told(&input);
        body(&input);
        std::mem::forget(told);
    }
}

/// Shows an input when a panic drops it.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("the input was {:?}", self.0);
    }
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % end
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }

    fn one_of<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        &choice[self.below(choice.len())]
    }
}
