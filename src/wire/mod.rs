//! The Postgres protocol, for psql and all drivers.
//!
//! The network has a runtime of its own; expensive work runs on the engine's ([`WireOptions::workers`]), so that a
//! heavy query never delays another client, or a cancel request. Rows are sent as they are computed and never
//! collected. A statement ends when its client cancels it or disconnects, at its timeout, and when the server stops.
//! This room handles only statements about the session itself; everything else goes through [`Door`].

mod backend;
mod binary;
mod connection;
mod copy_in;
mod copy_out;
mod dispatch;
mod door;
mod encode;
mod extended;
mod frontend;
mod link;
mod live;
mod numeric;
mod options;
mod portal;
mod respond;
mod server;
mod session_memory;
mod sessions;
mod shared;
mod simple;
mod starting;
mod startup;
mod task;
mod text;
mod values;
mod work;

#[cfg(test)]
mod tests;

pub use door::{Door, DoorAnswer, Intake};
pub use options::WireOptions;
pub use server::serve;

/// Decodes bytes as the first packets of a client, and as its messages: the entry point of a fuzzer.
pub fn decode_frontend(data: &[u8]) {
    let mut input = bytes::BytesMut::from(data);
    while let Ok(Some(_)) = frontend::opening(&mut input) {}
    let mut input = bytes::BytesMut::from(data);
    while let Ok(Some(_)) = frontend::message(&mut input, data.len()) {}
}
