//! Floats from a number of units of a power of two, rounded once: half to even.

/// A number that is `units` times two to the power `exponent`, or a little more if `is_more`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Binary {
    pub units: u64,
    pub exponent: i64,
    pub is_more: bool,
}

/// The layout of a binary float: how many bits of it are its mantissa, with the leading bit that is not written, and
/// the exponents of the least and of the greatest lowest bit.
pub(super) struct FloatLayout {
    pub bits: i64,
    pub least_exponent: i64,
    pub greatest_exponent: i64,
}

impl Binary {
    /// The bits of the float nearest to it; those of infinity where the layout has no such float.
    pub(super) fn nearest(self, layout: &FloatLayout) -> u64 {
        if self.units == 0 {
            return 0;
        }
        let width = i64::from(u64::BITS - self.units.leading_zeros());
        let unbounded = self.exponent.saturating_add(width - layout.bits);
        let exponent = unbounded.max(layout.least_exponent);
        let infinity = ((layout.greatest_exponent - layout.least_exponent + 2) as u64) << (layout.bits - 1);
        if exponent > layout.greatest_exponent {
            return infinity;
        }
        let mantissa = match exponent.saturating_sub(self.exponent) {
            cut @ 1.. if exponent > unbounded => self.without_bit(width - layout.bits - 1).rounded(cut),
            cut @ 1.. => self.rounded(cut),
            more => self.units << -more,
        };
        // The leading bit adds 1 to the exponent's field, and so does a mantissa that was rounded up to one bit more.
        (((exponent - layout.least_exponent) as u64) << (layout.bits - 1)) + mantissa
    }

    /// glibc forgets the bit after a full mantissa where it rounds to fewer bits, as the smallest floats have.
    fn without_bit(self, bit: i64) -> Binary {
        let bit = if bit < 0 { 0 } else { 1 << bit };
        Binary { units: self.units & !bit, ..self }
    }

    /// The units less so many of their lowest bits.
    fn rounded(self, cut: i64) -> u64 {
        if cut > i64::from(u64::BITS) {
            return 0;
        }
        let unit = 1_u128 << cut;
        let (whole, rest) = (u128::from(self.units) / unit, u128::from(self.units) % unit);
        let goes_up = match (rest * 2).cmp(&unit) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => self.is_more || whole % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        whole as u64 + u64::from(goes_up)
    }
}
