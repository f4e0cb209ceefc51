//! Raw bindings to libzmq 4.3.5, built from source with libsodium and linked statically.
//!
//! A drop-in for the published `zmq-sys` 0.12, which builds libzmq 4.3.4 with CURVE compiled out.
//! The `zmq` crate is built on this one through `[patch.crates-io]`; nothing else uses it.
#![allow(unsafe_code, missing_docs, unreachable_pub)]
#![allow(clippy::pedantic, clippy::all)]

// Linked for its static library only.
use libsodium_sys as _;

pub mod errno;
#[allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
mod ffi;

pub use ffi::*;
pub use std::os::fd::RawFd;
