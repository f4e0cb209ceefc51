//! NaCl's boxes, on which CURVE is based (RFC 26): safe wrappers for the few libsodium functions
//! that are needed. They take care of everything libsodium leaves to its caller: sizes,
//! initialisation, and wiping of keys.
//!
//! libsodium because libzmq already brings it into the process, and because it is three to five
//! times as fast as the crate crypto_box: an encrypted cluster spends most of its time here.

use std::fmt;
use std::sync::Once;

use libsodium_sys as sodium;
use zeroize::Zeroizing;

/// Size of any key in bytes.
pub const KEY_SIZE: usize = 32;
/// Size of a nonce in bytes.
pub const NONCE_SIZE: usize = 24;
/// Bytes that a box adds to its message.
pub const MAC_SIZE: usize = 16;

/// A secret, wiped when dropped. On the heap, so that moves leave no copies behind.
pub type SecretBytes = Box<Zeroizing<[u8; KEY_SIZE]>>;

/// Makes libsodium select its implementations and open its random source.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: takes no arguments, and may be called at any time from any thread.
        let answer = unsafe { sodium::sodium_init() };
        // It fails only if the system has no random source, and then libsodium aborts by itself.
        assert!(answer >= 0, "libsodium cannot be initialised");
    });
}

/// Fills `bytes` with cryptographically secure random bytes.
pub fn random(bytes: &mut [u8]) {
    initialise();
    // SAFETY: `bytes` is writable for the given length.
    unsafe {
        sodium::randombytes_buf(bytes.as_mut_ptr().cast(), bytes.len());
    }
}

/// Computes the public key of a secret key.
pub fn public_key(secret: &[u8; KEY_SIZE]) -> [u8; KEY_SIZE] {
    initialise();
    let mut public = [0; KEY_SIZE];
    // SAFETY: both are arrays of the 32 bytes that the function reads and writes.
    let answer = unsafe { sodium::crypto_scalarmult_base(public.as_mut_ptr(), secret.as_ptr()) };
    // Any 32 bytes are a valid secret key.
    debug_assert_eq!(answer, 0);
    public
}

/// The shared key of two sides that know each other's public key; wiped when dropped.
pub struct BoxKey(SecretBytes);

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl BoxKey {
    /// The key for boxes between the owner of `secret` and the owner of `public`. `None` for the
    /// few public keys that give the same result with every secret.
    pub fn new(public: &[u8; KEY_SIZE], secret: &[u8; KEY_SIZE]) -> Option<Self> {
        initialise();
        let mut key = SecretBytes::default();
        // SAFETY: all three are arrays of the 32 bytes that the function reads and writes.
        let answer = unsafe {
            sodium::crypto_box_beforenm(key.as_mut_ptr(), public.as_ptr(), secret.as_ptr())
        };
        (answer == 0).then_some(BoxKey(key))
    }

    /// The bytes of the key. The caller is responsible for where they go.
    pub fn bytes(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }

    /// Encrypts `message` in place and returns its authentication code. Never use a nonce twice.
    #[inline]
    pub fn seal(&self, nonce: &[u8; NONCE_SIZE], message: &mut [u8]) -> [u8; MAC_SIZE] {
        let mut mac = [0; MAC_SIZE];
        // SAFETY: the message is readable and writable for its length, and the function allows it
        // to be the output, too; the others are arrays of the sizes that the function reads and
        // writes.
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
        // It fails only for a message of 2^64 bytes.
        debug_assert_eq!(answer, 0);
        mac
    }

    /// Decrypts `sealed` into `message`, which must have the same length. `false` if the box is not
    /// genuine; nothing has been written then.
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
        // SAFETY: both slices are valid for this length, as just checked; the others are arrays of
        // the sizes that the function reads.
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

    /// Returns a box as sent: the authentication code, then the encrypted message.
    pub fn seal_to_vec(&self, nonce: &[u8; NONCE_SIZE], message: &[u8]) -> Vec<u8> {
        let mut sealed = [&[0; MAC_SIZE], message].concat();
        let mac = self.seal(nonce, &mut sealed[MAC_SIZE..]);
        sealed[..MAC_SIZE].copy_from_slice(&mac);
        sealed
    }

    /// Opens a box as received; `None` if it is too short or not genuine.
    pub fn open_to_vec(&self, nonce: &[u8; NONCE_SIZE], sealed: &[u8]) -> Option<Vec<u8>> {
        let (mac, sealed) = sealed.split_first_chunk()?;
        let mut message = vec![0; sealed.len()];
        self.open(nonce, mac, sealed, &mut message).then_some(message)
    }
}
/// Salsa20 under one key and nonce, as boxes use it once their subkey is known.
pub struct Salsa20<'a> {
    /// The key.
    pub key: &'a [u8; KEY_SIZE],
    /// The nonce.
    pub nonce: [u8; 8],
}

impl Salsa20<'_> {
    /// Encrypts or decrypts `message` in place, with the keystream from block `first` on.
    #[inline]
    pub fn xor(&self, message: &mut [u8], first: u64) {
        // SAFETY: the message is readable and writable for its length, and may be the same as the
        // result; the others are arrays of the sizes that the function reads.
        let answer = unsafe {
            sodium::crypto_stream_salsa20_xor_ic(
                message.as_mut_ptr(),
                message.as_ptr(),
                message.len() as u64,
                self.nonce.as_ptr(),
                first,
                self.key.as_ptr(),
            )
        };
        debug_assert_eq!(answer, 0);
    }
}

/// The Poly1305 tag of `message` under a key that is used once.
#[inline]
pub fn one_time_auth(key: &[u8; KEY_SIZE], message: &[u8]) -> [u8; MAC_SIZE] {
    let mut tag = [0; MAC_SIZE];
    // SAFETY: the message is readable for its length; the others are arrays of the sizes that the
    // function reads and writes.
    let answer = unsafe {
        sodium::crypto_onetimeauth_poly1305(
            tag.as_mut_ptr(),
            message.as_ptr(),
            message.len() as u64,
            key.as_ptr(),
        )
    };
    debug_assert_eq!(answer, 0);
    tag
}

