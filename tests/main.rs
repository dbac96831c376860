//! The tests that see the whole server, in one binary: DataFusion is linked once.

mod behind;
mod bounded;
mod damage;
mod data_directories;
mod faults;
mod formats;
mod fuzzing;
mod harness;
mod isolation;
mod kafka;
mod nexmark;
mod properties;
mod returning;
mod server;
mod shapes;
mod streams;
mod tidy;
mod tpch;
