//! The boxes of NaCl that CURVE is made of (RFC 26), out of libsodium: the few functions that are
//! needed, made safe. Everything about them that libsodium leaves to its caller is settled here:
//! sizes, initialisation, keys that are wiped.
//!
//! libsodium because libzmq brings it into the process anyway, and because it is three to five times
//! as fast as the crate crypto_box: most of what an encrypted cluster does is this.

use std::fmt;
use std::sync::Once;

use libsodium_sys as sodium;
use zeroize::Zeroizing;

/// Bytes of a key of any kind.
pub const KEY_SIZE: usize = 32;
/// Bytes of a nonce.
pub const NONCE_SIZE: usize = 24;
/// Bytes by which a box is larger than what is in it.
pub const MAC_SIZE: usize = 16;

/// A secret, wiped when it is dropped. On the heap, so that moving it leaves no copies behind.
pub type SecretBytes = Box<Zeroizing<[u8; KEY_SIZE]>>;

/// Makes libsodium choose its implementations and open its source of randomness.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: takes nothing, and may be called at any time from any thread.
        let answer = unsafe { sodium::sodium_init() };
        // It only fails where the system has no randomness, and there libsodium aborts by itself.
        assert!(answer >= 0, "libsodium cannot be initialised");
    });
}

/// Fills `bytes` with randomness that is good enough for keys.
pub fn random(bytes: &mut [u8]) {
    initialise();
    // SAFETY: `bytes` is writable for the length that is given.
    unsafe {
        sodium::randombytes_buf(bytes.as_mut_ptr().cast(), bytes.len());
    }
}

/// The public key that belongs to a secret one.
pub fn public_key(secret: &[u8; KEY_SIZE]) -> [u8; KEY_SIZE] {
    initialise();
    let mut public = [0; KEY_SIZE];
    // SAFETY: both are arrays of the 32 bytes that the function reads and writes.
    let answer = unsafe { sodium::crypto_scalarmult_base(public.as_mut_ptr(), secret.as_ptr()) };
    // Every 32 bytes are a secret key.
    debug_assert_eq!(answer, 0);
    public
}

/// What two sides share once each has the other's public key; wiped when it is dropped.
pub struct BoxKey(SecretBytes);

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl BoxKey {
    /// The key for boxes between the owner of `secret` and the owner of `public`. `None` for the
    /// few public keys with which everybody would get the same.
    pub fn new(public: &[u8; KEY_SIZE], secret: &[u8; KEY_SIZE]) -> Option<Self> {
        initialise();
        let mut key = SecretBytes::default();
        // SAFETY: all three are arrays of the 32 bytes that the function reads and writes.
        let answer = unsafe {
            sodium::crypto_box_beforenm(key.as_mut_ptr(), public.as_ptr(), secret.as_ptr())
        };
        (answer == 0).then_some(BoxKey(key))
    }

    /// Encrypts `message` where it is, and returns what proves that it is genuine. A nonce is
    /// never used twice.
    #[inline]
    pub fn seal(&self, nonce: &[u8; NONCE_SIZE], message: &mut [u8]) -> [u8; MAC_SIZE] {
        let mut mac = [0; MAC_SIZE];
        // SAFETY: the message is readable and writable for its length, and may be the same as the
        // result; the others are arrays of the sizes that the function reads and writes.
        let answer = unsafe {
            sodium::crypto_box_detached_afternm(
                message.as_mut_ptr(),
                mac.as_mut_ptr(),
                message.as_ptr(),
                message.len() as u64,
                nonce.as_ptr(),
                self.0.as_ptr(),
            )
        };
        // Only a message of 2^64 bytes fails.
        debug_assert_eq!(answer, 0);
        mac
    }

    /// Decrypts `sealed` into `message`, which is as long. `false` when the box is not genuine:
    /// then nothing was written.
    #[inline]
    #[must_use]
    pub fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        mac: &[u8; MAC_SIZE],
        sealed: &[u8],
        message: &mut [u8],
    ) -> bool {
        assert_eq!(sealed.len(), message.len(), "a box and its message are of one length");
        // SAFETY: both slices are valid for the one length, as just checked; the others are arrays
        // of the sizes that the function reads.
        let answer = unsafe {
            sodium::crypto_box_open_detached_afternm(
                message.as_mut_ptr(),
                sealed.as_ptr(),
                mac.as_ptr(),
                sealed.len() as u64,
                nonce.as_ptr(),
                self.0.as_ptr(),
            )
        };
        answer == 0
    }

    /// A box as it is sent: the proof, then the message.
    pub fn seal_to_vec(&self, nonce: &[u8; NONCE_SIZE], message: &[u8]) -> Vec<u8> {
        let mut sealed = [&[0; MAC_SIZE], message].concat();
        let mac = self.seal(nonce, &mut sealed[MAC_SIZE..]);
        sealed[..MAC_SIZE].copy_from_slice(&mac);
        sealed
    }

    /// What is in a box as it was received; `None` when that is too short or not genuine.
    pub fn open_to_vec(&self, nonce: &[u8; NONCE_SIZE], sealed: &[u8]) -> Option<Vec<u8>> {
        let (mac, sealed) = sealed.split_first_chunk()?;
        let mut message = vec![0; sealed.len()];
        self.open(nonce, mac, sealed, &mut message).then_some(message)
    }
}
