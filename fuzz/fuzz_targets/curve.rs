//! Fuzzes CURVE with hostile bytes in a place that the first byte selects: on either side of the
//! handshake, before and after its first command; after the handshake; and inside genuine boxes. Also
//! holds what each engine makes of a run of boxes against libsodium.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use zcluster::wire::zmtp::{
    CodecScratch, Curve, CurveCodec, KeyPair, Open, Opening, SocketType, Step, ZmtpError,
};
use zcluster_boxes::{Engine, Slot, StreamKey, Workspace};
use zmq_sys::sodium::BoxKey;

/// Largest body of a frame in bytes.
const LIMIT: u64 = 1 << 16;

static KEYS: LazyLock<[Arc<KeyPair>; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Arc::new(KeyPair::generate())));

/// One end of a connection, with its unsent bytes.
struct End {
    opening: Opening,
    received: Vec<u8>,
    out: Vec<u8>,
    open: Option<Open>,
}

impl End {
    fn client() -> Self {
        let [keys, server] = &*KEYS;
        let curve = Curve::Client { keys: Arc::clone(keys), server: *server.public() };
        Self::new(SocketType::Push, curve)
    }

    fn server() -> Self {
        Self::new(SocketType::Pull, Curve::Server(Arc::new([KeyPair::clone(&KEYS[1])])))
    }

    fn new(ours: SocketType, curve: Curve) -> Self {
        let mut out = Vec::new();
        let opening = Opening::new(ours, Some(curve), &mut out);
        End { opening, received: Vec::new(), out, open: None }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ZmtpError> {
        self.received.extend_from_slice(bytes);
        let (consumed, step) = self.opening.advance(&self.received, &mut self.out)?;
        self.received.drain(..consumed);
        self.open = match step {
            Step::More => None,
            Step::Authorize(_) => Some(self.opening.authorize(true, &mut self.out)?),
            Step::Open(open) => Some(open),
        };
        Ok(())
    }

    fn codec(self) -> CurveCodec {
        self.open.unwrap().codec.unwrap()
    }
}

/// The two ends after that many exchanges; three complete the handshake.
fn ends(exchanges: usize) -> (End, End) {
    let (mut client, mut server) = (End::client(), End::server());
    for _ in 0..exchanges {
        let bytes = std::mem::take(&mut client.out);
        server.take(&bytes).unwrap();
        let bytes = std::mem::take(&mut server.out);
        client.take(&bytes).unwrap();
    }
    (client, server)
}

/// Opens arbitrary bytes in two pieces. Returns the plain bytes.
fn open(codec: &mut CurveCodec, sealed: &[u8]) -> Result<Vec<u8>, ZmtpError> {
    let mut plain = Vec::new();
    let half =
        codec.open(&sealed[..sealed.len() / 2], LIMIT, &mut plain, &mut CodecScratch::default())?;
    assert!(half.need > sealed.len() / 2 - half.consumed || half.need == 0);
    codec.open(&sealed[half.consumed..], LIMIT, &mut plain, &mut CodecScratch::default())?;
    assert!(plain.len() <= sealed.len());
    Ok(plain)
}

/// Seals a run of boxes with each engine and with libsodium, then opens it, also with a byte changed.
/// The bytes are a number, the place of the change, and messages with a byte for their length.
fn hold_against_libsodium(bytes: &[u8]) {
    const PREFIX: &[u8; 16] = b"CurveZMQMESSAGES";
    static SODIUM: LazyLock<BoxKey> = LazyLock::new(|| {
        let [ours, theirs] = &*KEYS;
        BoxKey::new(theirs.public().as_bytes(), ours.secret().expose()).unwrap()
    });
    let Some((number, bytes)) = bytes.split_first_chunk() else { return };
    let Some((changed, mut bytes)) = bytes.split_first() else { return };
    let first = u64::from_be_bytes(*number);
    let (mut plain, mut slots) = (Vec::new(), Vec::new());
    while let Some((len, rest)) = bytes.split_first() {
        let message;
        (message, bytes) = rest.split_at(rest.len().min(usize::from(*len) * 2));
        let (start, number) = (plain.len(), first.wrapping_add(slots.len() as u64));
        slots.push(Slot { number, start, len: message.len(), ..Slot::default() });
        plain.extend_from_slice(message);
    }
    let (mut sealed, mut tagged) = (plain.clone(), slots.clone());
    for slot in &mut tagged {
        let mut nonce = [0; 24];
        nonce[..16].copy_from_slice(PREFIX);
        nonce[16..].copy_from_slice(&slot.number.to_be_bytes());
        slot.tag = SODIUM.seal(&nonce, &mut sealed[slot.start..slot.start + slot.len]);
    }
    let mut work = Workspace::default();
    for engine in Engine::available() {
        let key = StreamKey::with_engine(SODIUM.bytes(), PREFIX, engine);
        let (mut buffer, mut slots) = (plain.clone(), slots.clone());
        key.seal(&mut work, &mut buffer, &mut slots);
        assert!(buffer == sealed && slots == tagged, "{engine:?}");
        assert_eq!(key.open(&mut work, &mut buffer, &slots), slots.len(), "{engine:?}");
        assert!(buffer == plain, "{engine:?}");

        let mut forged = sealed.clone();
        let at = usize::from(*changed);
        let Some(byte) = forged.get_mut(at) else { continue };
        *byte ^= 1;
        let bad = slots.iter().position(|slot| at < slot.start + slot.len).unwrap();
        let mut buffer = forged.clone();
        assert_eq!(key.open(&mut work, &mut buffer, &slots), bad, "{engine:?}");
        let start = slots[bad].start;
        assert!(buffer[..start] == plain[..start] && buffer[start..] == forged[start..]);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((place, bytes)) = bytes.split_first() else { return };
    match place % 9 {
        place @ 0..6 => {
            let (client, server) = ends(usize::from(place / 2));
            let mut end = if place % 2 == 0 { client } else { server };
            let middle = bytes.len() / 2;
            if end.take(&bytes[..middle]).is_ok() {
                let _ = end.take(&bytes[middle..]);
            }
            assert!(end.open.is_none(), "nobody can forge it");
        }
        6 => {
            let (_, server) = ends(3);
            let plain = open(&mut server.codec(), bytes);
            assert!(plain.is_err() || plain == Ok(Vec::new()), "nobody can forge it");
        }
        7 => hold_against_libsodium(bytes),
        _ => {
            let (client, server) = ends(3);
            let (mut client, mut server) = (client.codec(), server.codec());
            let mut sealed = Vec::new();
            let _ = client.seal([bytes], &mut sealed, &mut CodecScratch::default());
            // The MORE flag outside the box means nothing.
            if bytes.len() % 2 == 1
                && let Some(flags) = sealed.first_mut()
            {
                *flags |= 1;
            }
            let Ok(plain) = open(&mut server, &sealed) else { return };
            // Long headers of short frames have become short headers, which survive another round
            // trip.
            sealed.clear();
            assert_eq!(
                client
                    .seal([&plain[..]], &mut sealed, &mut CodecScratch::default())
                    .unwrap()
                    .consumed,
                plain.len()
            );
            assert_eq!(open(&mut server, &sealed), Ok(plain));
        }
    }
});
