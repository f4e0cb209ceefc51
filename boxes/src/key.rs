//! [`StreamKey`]: the key of the boxes of one direction of a connection.

use std::fmt;

use zeroize::Zeroizing;
use zmq_sys::sodium::SecretBytes;

use super::stream::{CONSTANTS, double_round, word};
use super::{Engine, Slot, Workspace, portable};

/// The subkey for boxes whose nonces share their first 16 bytes. Wiped when it is dropped; on the
/// heap, so that moving it leaves no copies behind.
pub struct StreamKey {
    bytes: SecretBytes,
    engine: Engine,
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl StreamKey {
    /// The subkey of `key`, which is what `crypto_box_beforenm` returns, for nonces that start with
    /// `prefix`.
    pub fn new(key: &[u8; 32], prefix: &[u8; 16]) -> Self {
        Self::with_engine(key, prefix, Engine::best())
    }

    /// The same, for an engine that this machine has.
    ///
    /// # Panics
    /// When it has not.
    pub fn with_engine(key: &[u8; 32], prefix: &[u8; 16], engine: Engine) -> Self {
        assert!(engine.is_here(), "this machine has no {engine:?}");
        let mut bytes = SecretBytes::default();
        hsalsa20(key, prefix, &mut bytes);
        StreamKey { bytes, engine }
    }

    /// Encrypts the messages of `slots` in place and sets their tags.
    ///
    /// # Panics
    /// When a message is not within `buffer`; nothing is written then.
    pub fn seal(&self, work: &mut Workspace, buffer: &mut [u8], slots: &mut [Slot]) {
        check(buffer, slots);
        match self.engine {
            // SAFETY: a key's engine is one that this machine has.
            #[cfg(target_arch = "x86_64")]
            Engine::Ifma => unsafe { super::avx512::seal_ifma(&self.bytes, work, buffer, slots) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => unsafe { super::avx512::seal(&self.bytes, work, buffer, slots) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => unsafe { super::avx2::seal(&self.bytes, work, buffer, slots) },
            _ => portable::seal(&self.bytes, buffer, slots),
        }
    }

    /// Decrypts the messages of `slots` in place, up to the first that is not genuine: that one and
    /// those behind it stay as they are. Returns how many were decrypted.
    ///
    /// # Panics
    /// When a message is not within `buffer`; nothing is written then.
    pub fn open(&self, work: &mut Workspace, buffer: &mut [u8], slots: &[Slot]) -> usize {
        check(buffer, slots);
        match self.engine {
            // SAFETY: a key's engine is one that this machine has.
            #[cfg(target_arch = "x86_64")]
            Engine::Ifma => unsafe { super::avx512::open_ifma(&self.bytes, work, buffer, slots) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => unsafe { super::avx512::open(&self.bytes, work, buffer, slots) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => unsafe { super::avx2::open(&self.bytes, work, buffer, slots) },
            _ => portable::open(&self.bytes, buffer, slots),
        }
    }
}

/// Before anything is computed, so that no panic leaves keystreams behind.
fn check(buffer: &[u8], slots: &[Slot]) {
    let is_within = |slot: &Slot| slot.end().is_some_and(|end| end <= buffer.len());
    assert!(slots.iter().all(is_within), "a message is not within its buffer");
}

/// HSalsa20: the rounds of Salsa20 over key and nonce, without adding the input at the end.
fn hsalsa20(key: &[u8; 32], nonce: &[u8; 16], out: &mut [u8; 32]) {
    let mut x = Zeroizing::new([0; 16]);
    for index in 0..4 {
        x[5 * index] = CONSTANTS[index];
        x[1 + index] = word(key, index);
        x[6 + index] = word(nonce, index);
        x[11 + index] = word(key, 4 + index);
    }
    for _ in 0..10 {
        // SAFETY: every machine has the instructions for words.
        unsafe { double_round(&mut x) }
    }
    for (bytes, from) in out.chunks_exact_mut(4).zip([0, 5, 10, 15, 6, 7, 8, 9]) {
        bytes.copy_from_slice(&x[from].to_le_bytes());
    }
}
