//! PostgreSQL's functions of integers and floats, over one row's values, and their forms as text.
//!
//! Floats are as the C library has them: Rust's standard library calls the same functions as PostgreSQL. Where it does
//! not (`roots`, `hyperbolic`), or C and Rust differ (`scan`, `shortest`), the reason stands there.

mod angles;
mod binary;
mod buckets;
mod degrees;
mod float_input;
mod float_output;
mod hyperbolic;
mod integer_input;
mod integers;
mod powers;
mod powers_of_five;
mod range;
mod roots;
mod scan;
mod shortest;

pub use self::{
    angles::{acos, asin, cos, cot, degrees, radians, sin, tan},
    buckets::{float_bucket, integer_bucket, null_threshold, width_bucket},
    degrees::{acosd, asind, atan2d, atand, cosd, cotd, sind, tand},
    float_input::{float4in, float8in},
    float_output::{EXTRA_FLOAT_DIGITS, float4out, float8out, write_float4, write_float8},
    hyperbolic::{acosh, asinh, atanh},
    integer_input::{boolin, integer},
    integers::{
        absolute, gcd, lcm, remainder, shift_left2, shift_left4, shift_left8, shift_right2, shift_right4, shift_right8,
    },
    powers::{exp, ln, log10, power, sign},
    roots::sqrt,
};
