//! Fills `fuzz/corpus/` with recorded traffic and examples, so that fuzzing starts from real messages:
//! `cargo run --example fuzz-seeds`.

use std::error::Error;
use std::fs;
use std::path::Path;

use zcluster::wire::zmtp::{Handshake, SocketType, put_frame, put_ping};
use zcluster::wire::{EventMessage, LogMessage, Recording};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let events = root.join("tests/fixtures/events");
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        let corpus = root.join("fuzz/corpus").join(target);
        fs::create_dir_all(&corpus)?;
        fs::write(corpus.join(name), bytes)
    };
    for recording in ["cluster", "types-binary", "types-utf8"] {
        let bytes = fs::read(events.join(recording).with_extension("zmq"))?;
        seed("frames", recording, &bytes)?;
        for (i, frames) in Recording::new(&bytes).enumerate() {
            let frames = frames?;
            let event = EventMessage::parse(&frames)?;
            seed("broker_bin", &format!("{recording}-{i}"), event.payload)?;
        }
    }
    let bytes = fs::read(root.join("tests/fixtures/logs/odd.zmq"))?;
    for (i, frames) in Recording::new(&bytes).enumerate() {
        let frames = frames?;
        seed("zeek_bin", &format!("odd-{i}"), LogMessage::parse(&frames)?.payload)?;
    }
    let mut connection = vec![7];
    Handshake::new(SocketType::Push, &mut connection);
    put_ping(10, &mut connection);
    for frame in 0..6 {
        put_frame(&[b'x'; 300], frame < 5, &mut connection);
        put_frame(b"y", false, &mut connection);
    }
    seed("zmtp", "connection", &connection)?;
    let json = fs::read(events.join("types-utf8.ndjson"))?;
    for (i, line) in json.split(|b| *b == b'\n').enumerate() {
        seed("broker_json", &format!("types-utf8-{i}"), line)?;
    }
    // An event that the schema of the target declares.
    let declared = r#"{"type":"publish","topic":"t","event":"e","args":{"a":null,"s":[["::1","1/tcp"]],
        "t":[[1,[{"d":1,"o":[{"int":1},"inf","A::B",null]}]]],"p":"x"}}"#;
    seed("gateway_json", "declared", declared.as_bytes())?;
    // What clients send in the examples of the documentation: `>`, and the lines that continue it.
    let documentation = fs::read_to_string(root.join("docs/websocket.md"))?;
    for (i, example) in documentation.split("\n> ").skip(1).enumerate() {
        let mut lines = example.lines();
        let first = lines.next().unwrap_or_default();
        let rest: String = lines.take_while(|line| line.starts_with("   ")).collect();
        seed("gateway_json", &format!("example-{i}"), (first.to_owned() + &rest).as_bytes())?;
    }
    Ok(())
}
