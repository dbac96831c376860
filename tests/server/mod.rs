//! A real server process, and clients that come to it over a socket.

pub mod harness;

mod bad_input;
mod durability;
mod examples;
mod kill;
mod lake;
mod limits;
mod parameters;
mod postgres;
mod psql;
mod restart;
mod slt;
mod socket;
