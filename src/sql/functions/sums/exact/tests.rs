//! The exact sum against one that holds every bit.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;

/// A sum as every bit of it, from 2^-1074 on, in two's complement: slow, and plainly right.
#[derive(Clone)]
struct Bits(Vec<bool>);

impl Bits {
    fn new() -> Self {
        Bits(vec![false; 2400])
    }

    fn add(&mut self, value: f64) {
        let bits = value.abs().to_bits();
        let (exponent, fraction) = ((bits >> 52) as usize, bits & ((1 << 52) - 1));
        let whole = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let place = exponent.saturating_sub(1);
        let mut addend = vec![false; self.0.len()];
        (0..53).for_each(|n| addend[place + n] = whole >> n & 1 == 1);
        let (flip, mut carry) = (value < 0.0, value < 0.0);
        for (own, other) in self.0.iter_mut().zip(addend) {
            let (a, b) = (*own, other != flip);
            *own = a ^ b ^ carry;
            carry = (a && b) || (carry && (a || b));
        }
    }

    fn rounded(&self) -> Option<f64> {
        let is_negative = self.0[self.0.len() - 1];
        let mut carry = is_negative;
        let magnitude: Vec<bool> = (self.0.iter())
            .map(|bit| {
                let bit = *bit != is_negative;
                let sum = bit ^ carry;
                carry = carry && bit;
                sum
            })
            .collect();
        let Some(top) = magnitude.iter().rposition(|bit| *bit) else { return Some(0.0) };
        let low = top.saturating_sub(52);
        let mut whole = (low..=top).rev().fold(0u64, |whole, n| whole << 1 | u64::from(magnitude[n]));
        let half = low > 0 && magnitude[low - 1];
        let more = low > 1 && magnitude[..low - 1].contains(&true);
        whole += u64::from(half && (more || whole & 1 == 1));
        // In two steps, as the least and the greatest powers of two are no floats; neither step is rounded.
        let exponent = low as i32 - 1074;
        let value = whole as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
        let value = if is_negative { -value } else { value };
        value.is_finite().then_some(value)
    }
}

fn float(rng: &mut SmallRng) -> f64 {
    match rng.random_range(0..8) {
        0 => f64::from_bits(rng.random_range(0..1 << 52)),
        1 => -f64::from_bits(rng.random_range(0..1 << 54)),
        2 => rng.random_range(-1e300..1e300),
        3 => f64::from(rng.random_range(-1000..1000)) / 10.0,
        4 => f64::MAX * if rng.random_bool(0.5) { 1.0 } else { -1.0 },
        5 => 2f64.powi(rng.random_range(-1000..1000)),
        _ => loop {
            let any = f64::from_bits(rng.random());
            if any.is_finite() {
                break any;
            }
        },
    }
}

fn sum_of(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|value| sum.add(*value, 1));
    sum
}

fn close_to(value: Option<f64>) -> Option<u64> {
    value.map(|value| (value + 0.0).to_bits())
}

#[test]
fn exact_sum_after_retractions_equals_the_sum_of_the_rest() {
    for seed in 0..400 {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let (mut sums, mut bits, mut there) = (vec![ExactSum::default(); 3], Bits::new(), Vec::new());
        for _ in 0..rng.random_range(1..40) {
            let part = rng.random_range(0..3);
            if !there.is_empty() && rng.random_bool(0.3) {
                let value: f64 = there.swap_remove(rng.random_range(0..there.len()));
                sums[part].add(value, -1);
                bits.add(-value);
            } else {
                let value = float(rng);
                sums[part].add(value, 1);
                bits.add(value);
                there.push(value);
            }
            if rng.random_bool(0.2) {
                sums[part].carry();
            }
        }
        let mut all = ExactSum::default();
        sums.iter().for_each(|sum| all.merge(&sum.to_bytes()).unwrap());
        assert_eq!(close_to(all.rounded().ok()), close_to(bits.rounded()), "seed {seed}: {there:?}");
        // What is left is the same, byte by byte, as if nothing had been taken away.
        assert_eq!(all.to_bytes(), sum_of(&there).to_bytes(), "seed {seed}");
    }
}

#[test]
fn exact_sum_is_rounded_once_half_to_even() {
    for (values, expected) in [
        (&[1e300, 1.0, -1e300][..], 1.0),
        (&[0.1; 10][..], 1.0),
        (&[9007199254740992.0, 1.0][..], 9007199254740992.0),
        (&[9007199254740992.0, 1.0, 5e-324][..], 9007199254740994.0),
        (&[9007199254740994.0, 1.0][..], 9007199254740996.0),
        (&[-9007199254740992.0, -1.0, -5e-324][..], -9007199254740994.0),
        (&[f64::MIN_POSITIVE, -5e-324][..], 2.225073858507201e-308),
        (&[5e-324, 5e-324][..], 1e-323),
        (&[f64::MAX, f64::MAX, -f64::MAX][..], f64::MAX),
        (&[f64::MAX, 9.9e291][..], f64::MAX),
        (&[][..], 0.0),
    ] {
        assert_eq!(sum_of(values).rounded().ok(), Some(expected), "{values:?}");
    }
}

#[test]
fn exact_sum_overflow_is_an_error() {
    for values in [[f64::MAX, 1e292], [f64::MAX, f64::MAX], [-f64::MAX, -1e300]] {
        let error = sum_of(&values).rounded().unwrap_err();
        assert_eq!((error.kind().sqlstate(), error.message()), ("22003", "value out of range: overflow"));
    }
}

#[test]
fn exact_sum_nan_and_infinity_are_retractable() {
    let infinity = f64::INFINITY;
    let mut sum = sum_of(&[1.5, f64::NAN, infinity, -infinity]);
    assert!(sum.rounded().unwrap().is_nan());
    sum.add(f64::NAN, -1);
    assert!(sum.rounded().unwrap().is_nan());
    sum.add(infinity, -1);
    let mut merged = ExactSum::default();
    merged.merge(&sum.to_bytes()).unwrap();
    assert_eq!(merged.rounded().unwrap(), -infinity);
    merged.add(-infinity, -1);
    assert_eq!(merged.rounded().unwrap(), 1.5);
    assert_eq!(merged.to_bytes(), sum_of(&[1.5]).to_bytes());
}

#[test]
fn exact_sum_of_many_equal_floats_does_not_overflow() {
    for value in [f64::MAX / 1e30, -f64::MAX / 1e30, 0.1, -5e-324] {
        let mut sum = ExactSum::default();
        for _ in 0..6 {
            sum.add(value, ADDS_MAX - 1);
            sum.add(value, 1);
        }
        let times = 6 * ADDS_MAX;
        assert_eq!(sum.rounded().unwrap(), value * times as f64, "{value}");
        sum.add(value, -times);
        assert_eq!(sum.to_bytes(), [0, 0]);
    }
}

#[test]
fn exact_sum_merge_of_corrupted_bytes_is_an_error() {
    for bytes in [&[][..], &[0][..], &[0, 1, 7][..]] {
        assert!(ExactSum::default().merge(bytes).is_err(), "{bytes:?}");
    }
}
