//! libsodium's boxes behave as RFC 26 and NaCl specify.

use zmq_sys::sodium::{BoxKey, KEY_SIZE, MAC_SIZE, NONCE_SIZE, SecretBytes, public_key, random};

/// Two sides, each with its secret key and its public key.
fn pair() -> [(SecretBytes, [u8; KEY_SIZE]); 2] {
    [(); 2].map(|()| {
        let mut secret = SecretBytes::default();
        random(&mut secret[..]);
        let public = public_key(&secret);
        (secret, public)
    })
}

#[test]
fn both_sides_open_what_the_other_sealed_and_nothing_else() {
    let [(a, public_a), (b, public_b)] = pair();
    let ours = BoxKey::new(&public_b, &a).unwrap();
    let theirs = BoxKey::new(&public_a, &b).unwrap();
    for message in [&b""[..], b"x", &[7; 1000]] {
        let sealed = ours.seal_to_vec(&[1; NONCE_SIZE], message);
        assert_eq!(sealed.len(), message.len() + MAC_SIZE);
        assert_eq!(theirs.open_to_vec(&[1; NONCE_SIZE], &sealed).unwrap(), message);
        assert_eq!(theirs.open_to_vec(&[2; NONCE_SIZE], &sealed), None);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 0x80;
            assert_eq!(theirs.open_to_vec(&[1; NONCE_SIZE], &forged), None);
        }
        assert_eq!(theirs.open_to_vec(&[1; NONCE_SIZE], &sealed[..15]), None);
    }
}

// The first test vector of the NaCl paper's `crypto_box`, section 10.
#[test]
fn keys_are_those_of_nacl() {
    let alice = [
        0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66,
        0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9,
        0x2c, 0x2a,
    ];
    assert_eq!(public_key(&alice)[..6], [0x85, 0x20, 0xf0, 0x09, 0x89, 0x30]);
}

#[test]
fn weak_keys_and_secrets_in_debug() {
    let [(secret, public), _] = pair();
    assert!(BoxKey::new(&[0; KEY_SIZE], &secret).is_none());
    let mut one = [0; KEY_SIZE];
    one[0] = 1;
    assert!(BoxKey::new(&one, &secret).is_none());
    let key = BoxKey::new(&public, &secret).unwrap();
    assert_eq!(format!("{key:?}"), "<secret>");
}
