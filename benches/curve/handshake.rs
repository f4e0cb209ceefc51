//! What a handshake costs the server: the multiplications on the curve, and all of it for a client
//! that is accepted or refused.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use zcluster::wire::zmtp::{Curve, KeyPair, Opening, SocketType, Step};
use zmq_sys::sodium::{BoxKey, public_key};

/// Runs a handshake. Returns the time of the server's part.
fn server_time(client: &Arc<KeyPair>, server: &Arc<[KeyPair]>, is_allowed: bool) -> Duration {
    let (mut out, mut received) = (Vec::new(), Vec::new());
    let used = server.last().expect("a server has keys");
    let to_server = Curve::Client { keys: Arc::clone(client), server: *used.public() };
    let mut ours = Opening::new(SocketType::Push, Some(to_server), &mut received);
    let start = Instant::now();
    let mut theirs =
        Opening::new(SocketType::Pull, Some(Curve::Server(Arc::clone(server))), &mut out);
    let mut total = start.elapsed();
    loop {
        let start = Instant::now();
        let (consumed, step) = theirs.advance(&received, &mut out).unwrap();
        let authorized = matches!(step, Step::Authorize(_));
        if authorized {
            assert_eq!(theirs.authorize(is_allowed, &mut out).is_ok(), is_allowed);
        }
        total += start.elapsed();
        if authorized {
            return total;
        }
        received.drain(..consumed);
        let (consumed, _) = ours.advance(&out, &mut received).unwrap();
        out.drain(..consumed);
    }
}

pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    let client = Arc::new(KeyPair::generate());
    let keys = [KeyPair::generate(), KeyPair::generate()];
    let (secret, public) = (keys[0].secret().expose(), client.public().as_bytes());
    group.bench_function("multiplication", |b| {
        b.iter(|| BoxKey::new(black_box(public), black_box(secret)));
    });
    group.bench_function("multiplication of the base point", |b| {
        b.iter(|| public_key(black_box(secret)));
    });
    let [one, two] = [&keys[1..], &keys[..]].map(Arc::<[KeyPair]>::from);
    for (name, server, is_allowed) in [
        ("server, accepted", &one, true),
        ("server, refused", &one, false),
        ("server with two keys, accepted", &two, true),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|iters| {
                (0..iters).map(|_| server_time(&client, server, is_allowed)).sum()
            });
        });
    }
    group.finish();
}
