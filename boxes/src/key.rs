//! [`StreamKey`]: the key of the boxes of one direction of a connection.

use std::fmt;

use zeroize::Zeroizing;

use super::Engine;
use super::stream::{CONSTANTS, double_round};

/// The subkey for boxes whose nonces share their first 16 bytes. Wiped when it is dropped; on the
/// heap, so that moving it leaves no copies behind.
pub struct StreamKey {
    words: Box<Zeroizing<[u32; 8]>>,
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
        let mut words = Box::new(Zeroizing::new([0; 8]));
        hsalsa20(key, prefix, &mut words);
        StreamKey { words, engine }
    }

    pub(crate) fn words(&self) -> &[u32; 8] {
        &self.words
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(self.words.iter()) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }
}

/// HSalsa20: the rounds of Salsa20 over key and nonce, without adding the input at the end.
fn hsalsa20(key: &[u8; 32], nonce: &[u8; 16], out: &mut [u32; 8]) {
    let word = |bytes: &[u8], index: usize| {
        u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[4 * index + byte]))
    };
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
    for (word, from) in out.iter_mut().zip([0, 5, 10, 15, 6, 7, 8, 9]) {
        *word = x[from];
    }
}
