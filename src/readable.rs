//! placeholder
use crate::{Event, value::Timestamp};
use bstr::BString;
#[allow(missing_docs)]
pub fn event_to_json(_t: Timestamp, topic: &[u8], sender: &[u8], e: &Event) -> serde_json::Value {
    serde_json::json!({"topic": String::from_utf8_lossy(topic), "sender": String::from_utf8_lossy(sender), "event": e.name.to_string(), "args": format!("{:?}", e.args)})
}
#[allow(missing_docs)]
pub fn publication_from_json(line: &str) -> Result<(BString, Event), String> {
    let v: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    Ok((
        v["topic"].as_str().unwrap_or_default().into(),
        Event::new(v["event"].as_str().unwrap_or_default(), vec![]),
    ))
}
