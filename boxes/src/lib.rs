//! Seals and opens *runs* of NaCl boxes (XSalsa20-Poly1305) that share a key, side by side.
//!
//! A CURVE connection encrypts each frame in a box of its own. Most frames are short, and there the
//! usual implementations, which go wide only inside one long message, compute one block at a time.
//! But the boxes of a connection have the same key and the same first 16 bytes of their nonces:
//!
//! 1. XSalsa20 derives a subkey from these two, so the subkey is a constant of the connection
//!    ([`StreamKey`]).
//! 2. With one subkey the blocks of the keystream of *consecutive boxes* differ only in two words of
//!    input. So 8 or 16 of them are computed at once, however short the boxes are, and so are the
//!    authenticators of 4 or 8 boxes.
//!
//! - `key`: the subkey.
//! - `avx2`, `avx512`: the vectors of an engine, by way of `vector`. `portable`: libsodium, box by box,
//!   for other machines.
//! - `slot`: one box; `run`: a run of them, from the keystreams to the tags.
//! - `stream`: Salsa20 blocks in lanes of vectors; `auth`: Poly1305 in lanes, with numbers as `limbs26` or
//!   `limbs44` has them.
//!
//! No branch and no address depends on a secret; only lengths and numbers of boxes do, which anybody
//! sees on the wire. Keys and keystreams are wiped from memory that outlives a call; what vectors leave
//! on the stack during one is overwritten by the next.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bytes;
mod key;
mod limbs26;
mod limbs44;
mod portable;
mod run;
mod slot;
mod stream;
#[cfg(target_arch = "x86_64")]
mod vector;

use std::sync::OnceLock;

pub use key::StreamKey;
pub use run::Workspace;
pub use slot::{Slot, TAG_SIZE};

/// How boxes are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// 16 blocks and 8 authenticators at once, with multiplications of 52 bits.
    Ifma,
    /// 16 blocks and 8 authenticators at once.
    Avx512,
    /// 8 blocks and 4 authenticators at once.
    Avx2,
    /// libsodium, one box after the other.
    Portable,
}

impl Engine {
    /// The fastest that this machine has.
    pub fn best() -> Self {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().next().unwrap_or(Engine::Portable))
    }

    /// Those that this machine has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Engine::Ifma, Engine::Avx512, Engine::Avx2, Engine::Portable]
            .into_iter()
            .filter(|engine| engine.is_here())
    }

    fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Engine::Ifma => Engine::Avx512.is_here() && is_x86_feature_detected!("avx512ifma"),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx2")
            }
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(not(target_arch = "x86_64"))]
            Engine::Ifma | Engine::Avx512 | Engine::Avx2 => false,
            Engine::Portable => true,
        }
    }
}
