//! Postgres' binary form of `numeric`: groups of four decimal digits. Arrow's decimals are converted through text,
//! which is exact at any precision.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITE: u16 = 0xd000;
const NEGATIVE_INFINITE: u16 = 0xf000;
/// Maximum number of groups: more than any decimal here has; a larger parameter fails in the cast of its text.
const GROUPS_MAX: usize = 64;

/// Appends the binary form of a number in plain text: `-12.50`.
pub(super) fn to_binary(text: &str, out: &mut BytesMut) {
    let (sign, text) = text.strip_prefix('-').map_or((0, text), |t| (NEGATIVE, t));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let padded = |digits: usize| (4 - digits % 4) % 4;
    let mut digits = "0".repeat(padded(whole.len()));
    digits.push_str(whole);
    let mut weight = (digits.len() / 4) as i32 - 1;
    digits.push_str(fraction);
    digits.push_str(&"0".repeat(padded(fraction.len())));
    let mut groups: Vec<i16> =
        digits.as_bytes().chunks(4).map(|g| g.iter().fold(0, |sum, d| sum * 10 + i16::from(d - b'0'))).collect();
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|g| **g == 0).count();
    groups.drain(..leading);
    weight -= leading as i32;
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(weight as i16);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_i16(fraction.len() as i16);
    for group in groups {
        out.put_i16(group);
    }
}

/// The number as text; `None` if the bytes are invalid.
pub(super) fn from_binary(mut bytes: Bytes) -> Option<String> {
    let count = usize::from(bytes.try_get_u16().ok()?);
    let weight = i32::from(bytes.try_get_i16().ok()?);
    let sign = bytes.try_get_u16().ok()?;
    let scale = usize::from(bytes.try_get_u16().ok()?);
    match sign {
        NAN => return Some("NaN".into()),
        INFINITE => return Some("Infinity".into()),
        NEGATIVE_INFINITE => return Some("-Infinity".into()),
        0 | NEGATIVE => {}
        _ => return None,
    }
    if count > GROUPS_MAX || weight.unsigned_abs() as usize > GROUPS_MAX || scale > 4 * GROUPS_MAX {
        return None;
    }
    if bytes.len() != count * 2 {
        return None;
    }
    let groups: Vec<i16> = (0..count).map(|_| bytes.get_i16()).collect();
    if groups.iter().any(|g| !(0..10_000).contains(g)) {
        return None;
    }
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    match weight {
        ..0 => text.push('0'),
        _ => {
            text.push_str(&group(0).to_string());
            (1..=weight).for_each(|at| text.push_str(&format!("{:04}", group(at))));
        }
    }
    if scale > 0 {
        let fraction: String = (0..scale.div_ceil(4) as i32).map(|i| format!("{:04}", group(weight + 1 + i))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_text_roundtrips_through_binary() {
        for text in
            ["0", "1", "-1", "12.50", "0.0001", "-0.00012345", "10000", "123456789.987654321", "100000000", "0.00"]
        {
            let mut bytes = BytesMut::new();
            to_binary(text, &mut bytes);
            assert_eq!(from_binary(bytes.freeze()).as_deref(), Some(text));
        }
        let mut bytes = BytesMut::new();
        to_binary("12345.678", &mut bytes);
        assert_eq!(&bytes[..], b"\x00\x03\x00\x01\x00\x00\x00\x03\x00\x01\x09\x29\x1a\x7c");
    }
}
