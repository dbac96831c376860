//! The upper bits of powers of five and of their inverses, which the conversion of floats to decimal multiplies by.

/// How many bits of a power of five are kept.
pub(super) const POWER_BITS: i32 = 121;

/// How many bits of an inverse are kept after those that the power has.
pub(super) const INVERSE_BITS: i32 = 122;

/// The upper bits of 5^i, for every i that a double needs.
pub(super) static POWERS: [u128; 326] = powers();

/// 2^(n - 1 + [`INVERSE_BITS`]) / 5^i, rounded up, where n is the number of bits of 5^i.
pub(super) static INVERSES: [u128; 292] = inverses();

/// The number of bits of 5^`exponent`, up to 3528.
pub(super) const fn bits_of_power(exponent: i32) -> i32 {
    ((exponent * 1_217_359) >> 19) + 1
}

/// 5^325 has 755 bits.
const POWER_LIMBS: usize = 12;

const fn powers() -> [u128; 326] {
    let mut all = [0; 326];
    let mut power = [0_u64; POWER_LIMBS];
    power[0] = 1;
    let mut exponent = 0;
    while exponent < all.len() {
        all[exponent] = shifted(&power, bits_of_power(exponent as i32) - POWER_BITS);
        let (mut limb, mut carry) = (0, 0);
        while limb < POWER_LIMBS {
            let product = power[limb] as u128 * 5 + carry;
            power[limb] = product as u64;
            carry = product >> 64;
            limb += 1;
        }
        exponent += 1;
    }
    all
}

/// 2^831, from which all inverses are made by dividing by five, has so many limbs.
const INVERSE_LIMBS: usize = 13;

const fn inverses() -> [u128; 292] {
    let mut all = [0; 292];
    let mut inverse = [0_u64; INVERSE_LIMBS];
    inverse[INVERSE_LIMBS - 1] = 1 << 63;
    let highest = 64 * INVERSE_LIMBS as i32 - 1;
    let mut exponent = 0;
    while exponent < all.len() {
        let bits = bits_of_power(exponent as i32) - 1 + INVERSE_BITS;
        all[exponent] = shifted(&inverse, highest - bits) + 1;
        let (mut limb, mut rest) = (INVERSE_LIMBS, 0);
        while limb > 0 {
            limb -= 1;
            let dividend = rest << 64 | inverse[limb] as u128;
            inverse[limb] = (dividend / 5) as u64;
            rest = dividend % 5;
        }
        exponent += 1;
    }
    all
}

/// A number less so many of its lowest bits, or with more for a negative count. It fits 128 bits.
const fn shifted<const LIMBS: usize>(number: &[u64; LIMBS], count: i32) -> u128 {
    if count <= 0 {
        return ((number[1] as u128) << 64 | number[0] as u128) << -count;
    }
    let (first, bits) = (count as usize / 64, count as usize % 64);
    let mut result = 0;
    let mut limb = 0;
    while limb < 3 && first + limb < LIMBS {
        let value = number[first + limb] as u128;
        let place = 64 * limb;
        if place < bits {
            result |= value >> (bits - place);
        } else if place - bits < 128 {
            result |= value << (place - bits);
        }
        limb += 1;
    }
    result
}
