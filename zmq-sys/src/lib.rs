//! Raw bindings to libzmq 4.3.5, built from source with libsodium and linked statically.
//!
//! A drop-in for the published `zmq-sys` 0.12, which builds libzmq 4.3.4 with CURVE compiled out.
//! The `zmq` crate is built on this one through `[patch.crates-io]`.
//!
//! [`sodium`] is the part of the libsodium in there that encryption of our own needs.
#![allow(unsafe_code, missing_docs, unreachable_pub)]
#![allow(clippy::pedantic, clippy::all)]

pub mod errno;
pub mod sodium;
#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
mod ffi;

pub use ffi::*;
pub use std::os::fd::RawFd;
