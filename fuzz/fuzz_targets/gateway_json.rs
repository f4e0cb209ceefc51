//! Fuzzes what clients of the gateway send in version 2 of its API, with and without a schema file:
//! refusals are short, and an event is the same when what the gateway makes of it is sent back.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use zcluster::readable::{ENVELOPE, Json, Part};
use zcluster::value::{Timestamp, Value};
use zcluster_gateway::schema::Schema;
use zcluster_gateway::v2::{ClientMessage, Delivery, Request, ServerMessage};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let file = r#"
        [[event]]
        name = "e"
        args = ["a: any", "s: set[addr, port]", "t: table[count] of vector of R", "p: pattern"]
        [[record]]
        name = "R"
        fields = ["i: int &optional", "d: double", "e: enum &optional", "o: R &optional"]
    "#;
    Schema::parse(file).expect("the declarations are valid")
});

fuzz_target!(|text: &[u8]| {
    let Ok(text) = str::from_utf8(text) else { return };
    for schema in [None, Some(&*SCHEMA)] {
        let mut sent = String::new();
        match Request::parse(text, schema) {
            Err(refusal) => {
                assert!(refusal.message.len() <= 2000);
                ServerMessage::from(&refusal).write(&mut sent);
                assert!(Json::parse(&sent).is_ok());
            }
            Ok(Request { message: ClientMessage::Publish { topic, event }, .. }) => {
                let (topic, received) = (topic.as_bytes(), Timestamp(0));
                Delivery { seq: 1, topic, event: &event, received }.write(schema, &mut sent);
                // What the client wrote without the names of types may nest too deep with them.
                let Ok(json) = Json::parse(&sent) else { continue };
                let members = json.as_object().expect("every message is an object");
                let (_, args) =
                    members.iter().find(|(name, _)| name == "args").expect("events have args");
                let args = Part::whole(args).inside(ENVELOPE);
                let again = match schema {
                    Some(schema) => schema.read_args(&event.name.to_string(), Some(args)).ok(),
                    None => match args.value() {
                        Ok(Value::Vector(args)) => Some(args),
                        _ => None,
                    },
                };
                assert_eq!(again, Some(event.args));
            }
            Ok(_) => {}
        }
    }
});
