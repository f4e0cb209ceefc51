//! Raw bindings to libzmq 4.3.5, built from source with libsodium and linked statically.
//!
//! A drop-in replacement for the published `zmq-sys` 0.12, which builds libzmq 4.3.4 with CURVE
//! compiled out. `[patch.crates-io]` makes the `zmq` crate use this one.
//!
//! [`sodium`] is the part of that libsodium that zcluster's own encryption needs.
#![allow(unsafe_code, missing_docs, unreachable_pub)]
#![allow(clippy::pedantic, clippy::all)]

pub mod errno;
pub mod sodium;
#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
mod ffi;

pub use ffi::*;
pub use std::os::fd::RawFd;
