//! A real server process, and clients that come to it over a socket.

pub mod harness;
pub mod postgres;

mod bad_input;
mod durability;
mod examples;
mod fences;
mod files;
mod functions;
mod kill;
mod lake;
mod limits;
mod memory;
mod parameters;
mod pipelines;
mod psql;
mod raw;
mod restart;
mod slt;
mod socket;
mod subscribe;
mod waits;
