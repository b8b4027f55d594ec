//! Random numbers that are the same on any machine: whole numbers only, one generator for each affiliate, so that any
//! part can be made alone.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

/// A generator for one purpose.
pub struct Random(Pcg64Mcg);

impl Random {
    /// The generator of the `item`th thing under a seed; neighbours are independent.
    pub fn new(seed: u64, purpose: u64, item: u64) -> Random {
        let high = mix(mix(seed).wrapping_add(item));
        let low = mix(high ^ mix(purpose));
        Random(Pcg64Mcg::new((u128::from(high) << 64) | u128::from(low)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not 0. The upper bits of a product: no bias that anybody could see in a sample.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// Whether something happens that does so in `per_mille` of all cases.
    pub fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of a list.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// A number around `median`, like amounts of real sales: half of them above, a few far above. About log-normal with
    /// a sigma of 1.1: the sum of eight even numbers is nearly normal, and is taken as a power of two in steps of a
    /// sixteenth.
    pub fn around(&mut self, median: u64) -> u64 {
        let bits = self.bits();
        let sum: i64 = (0..8).map(|die| ((bits >> (die * 5)) & 31) as i64).sum();
        let sixteenths = sum - 124; // 8 x 15.5, so that half are above
        let whole = median * u64::from(POWERS[sixteenths.rem_euclid(16) as usize]);
        let whole = match sixteenths.div_euclid(16) {
            up @ 0.. => whole << up,
            down => whole >> -down,
        } >> 16;
        whole + self.below(whole / 16 + 1)
    }
}

/// 2^(n/16), in units of 2^-16.
const POWERS: [u32; 16] = [
    65_536, 68_438, 71_468, 74_632, 77_936, 81_386, 84_990, 88_752, 92_682, 96_785, 101_070, 105_545, 110_218, 115_098,
    120_194, 125_515,
];

/// SplitMix64's finaliser: neighbours become strangers.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_lie_around_their_median() {
        let mut random = Random::new(1, 0, 0);
        let mut amounts: Vec<u64> = (0..10_001).map(|_| random.around(4_000)).collect();
        amounts.sort_unstable();
        assert!((3_800..4_400).contains(&amounts[5_000]), "{}", amounts[5_000]);
        assert!(amounts[10_000] > 50_000 && amounts[0] < 400 && amounts[0] > 0, "{} {}", amounts[0], amounts[10_000]);
    }
}
