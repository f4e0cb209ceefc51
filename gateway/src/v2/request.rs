//! What clients send: one JSON object per message. Nothing in it is ignored, because a name that is
//! not known is probably misspelt.

use std::borrow::Cow;

use thiserror::Error;
use zcluster::readable::{ENVELOPE, Json, Part, ReadableError};
use zcluster::value::Timestamp;
use zcluster::{Event, Value};

use super::{ErrorCode, MAX_SAFE, RequestId};
use crate::schema::{Mismatch, Schema};

/// The longest [`RequestId::Text`].
pub const MAX_ID_BYTES: usize = 64;

/// A message of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// If there is one, the answer carries it; otherwise only errors are answered.
    pub id: Option<RequestId>,
    /// What the client asks for.
    pub message: ClientMessage<'a>,
}

/// What a client asks for. Texts borrow from the message, unless they have escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage<'a> {
    /// Subscribes to prefixes of topics.
    Subscribe {
        /// The prefixes. One may be empty, or occur twice.
        topics: Vec<Cow<'a, str>>,
    },
    /// Cancels subscriptions.
    Unsubscribe {
        /// The prefixes.
        topics: Vec<Cow<'a, str>>,
    },
    /// Publishes an event.
    Publish {
        /// The topic, which is not empty.
        topic: Cow<'a, str>,
        /// The event, as declared if there is a schema. Its name is not empty.
        event: Event,
    },
    /// Replaces the set of notices that the client wants.
    Notices(Notices),
    /// Continues a lost session.
    Resume {
        /// The `session` of its welcome.
        session: Cow<'a, str>,
        /// Number of the last event that the client received.
        after: u64,
    },
}

/// Kinds of notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// `node_up` and `node_down`.
    pub nodes: bool,
    /// `bus`.
    pub bus: bool,
    /// `stats`.
    pub stats: bool,
}

/// Why a message is no [`Request`]: the content of the `error` that answers it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// That of the message, if it could be read.
    pub id: Option<RequestId>,
    /// What is wrong, for programs.
    pub code: ErrorCode,
    /// What is wrong, for people: one sentence that says where, what is expected and what was found.
    pub message: String,
}

/// A [`Refusal`] without its `id`.
struct Wrong {
    code: ErrorCode,
    message: String,
}

impl From<ReadableError> for Wrong {
    fn from(error: ReadableError) -> Self {
        Wrong { code: ErrorCode::BadMessage, message: error.to_string() }
    }
}

impl From<Mismatch> for Wrong {
    fn from(mismatch: Mismatch) -> Self {
        Wrong { code: ErrorCode::Schema, message: mismatch.to_string() }
    }
}

impl Wrong {
    fn bad_message(message: impl Into<String>) -> Self {
        Wrong { code: ErrorCode::BadMessage, message: message.into() }
    }

    fn refusal(self, id: Option<RequestId>) -> Refusal {
        /// Room for a path and a list of names. What a client sends is repeated in part only.
        const MAX_CHARS: usize = 400;
        let mut message = self.message;
        if let Some((end, _)) = message.char_indices().nth(MAX_CHARS) {
            message.truncate(end);
            message.push('…');
        }
        Refusal { id, code: self.code, message }
    }
}

impl<'a> Request<'a> {
    /// Reads a message. With a schema, events must be as it declares them.
    ///
    /// ```
    /// use zcluster_gateway::v2::{ClientMessage, Request};
    ///
    /// let request = Request::parse(r#"{"type":"subscribe","topics":["zeek."]}"#, None)?;
    /// assert_eq!(request.message, ClientMessage::Subscribe { topics: vec!["zeek.".into()] });
    ///
    /// let error = Request::parse(r#"{"type":"subscribe","topics":[7]}"#, None).unwrap_err();
    /// assert_eq!(error.message, "topics[0]: expected a string, found 7");
    /// # Ok::<(), zcluster_gateway::v2::Refusal>(())
    /// ```
    ///
    /// # Errors
    ///
    /// With the code [`BadMessage`], [`UnknownType`] or [`Schema`](ErrorCode::Schema).
    ///
    /// [`BadMessage`]: ErrorCode::BadMessage
    /// [`UnknownType`]: ErrorCode::UnknownType
    pub fn parse(text: &'a str, schema: Option<&Schema>) -> Result<Self, Refusal> {
        let json = Json::parse(text)
            .map_err(|error| Wrong::from(ReadableError::Syntax(error)).refusal(None))?;
        let whole = Part::whole(&json);
        let id = id(whole).map_err(|wrong| wrong.refusal(None))?;
        match message(whole, schema) {
            Ok(message) => Ok(Request { id, message }),
            Err(wrong) => Err(wrong.refusal(id)),
        }
    }
}

fn id(whole: Part<'_, '_>) -> Result<Option<RequestId>, Wrong> {
    let Some(part) = find(&whole, "id") else { return Ok(None) };
    let id = match part.json() {
        Json::String(text) if text.len() <= MAX_ID_BYTES => Some(RequestId::Text((&**text).into())),
        json => json.as_u64().filter(|n| *n <= MAX_SAFE).map(RequestId::Number),
    };
    let expected = "a string of at most 64 bytes or an integer from 0 to 2^53 - 1";
    id.map(Some).ok_or_else(|| part.unexpected(expected).into())
}

fn message<'a>(whole: Part<'_, 'a>, schema: Option<&Schema>) -> Result<ClientMessage<'a>, Wrong> {
    const TYPES: &str = "one of subscribe, unsubscribe, publish, notices, resume";
    let Json::Object(_) = whole.json() else {
        return Err(whole.unexpected("an object with a member `type`").into());
    };
    let Some(ty) = find(&whole, "type") else {
        return Err(Wrong::bad_message(format!("missing member `type`: {TYPES}")));
    };
    match &*ty.text(TYPES)? {
        "subscribe" => Ok(ClientMessage::Subscribe { topics: topics(whole)? }),
        "unsubscribe" => Ok(ClientMessage::Unsubscribe { topics: topics(whole)? }),
        "publish" => publish(whole, schema),
        "notices" => notices(whole),
        "resume" => resume(whole),
        _ => {
            let message = ty.unexpected(TYPES).to_string();
            Err(Wrong { code: ErrorCode::UnknownType, message })
        }
    }
}

/// The first member of this name.
fn find<'p, 'a>(whole: &'p Part<'p, 'a>, name: &'static str) -> Option<Part<'p, 'a>> {
    let (_, json) = whole.json().as_object()?.iter().find(|(member, _)| member == name)?;
    Some(whole.member(name, json))
}

/// The members of these names, in their order. `type` and `id` may be there too, and nothing else.
fn members<'p, 'a, const N: usize>(
    whole: &'p Part<'p, 'a>,
    names: [&'static str; N],
) -> Result<[Option<Part<'p, 'a>>; N], Wrong> {
    let mut parts = [None; N];
    let mut common = [None; 2];
    for (name, json) in whole.json().as_object().unwrap_or_default() {
        let slot = match names.iter().position(|known| known == name) {
            Some(place) => &mut parts[place],
            None if name == "type" => &mut common[0],
            None if name == "id" => &mut common[1],
            None => {
                let name: String = name.chars().take(40).collect();
                let expected = names.join(", ");
                let message = format!("unknown member `{name}`; expected type, id, {expected}");
                return Err(Wrong::bad_message(message));
            }
        };
        let part = whole.member(name, json);
        if slot.replace(part).is_some() {
            return Err(part.unexpected("each member once").into());
        }
    }
    Ok(parts)
}

fn required<'p, 'a>(
    part: Option<Part<'p, 'a>>,
    name: &'static str,
) -> Result<Part<'p, 'a>, ReadableError> {
    part.ok_or(ReadableError::MissingMember { name })
}

fn topics<'a>(whole: Part<'_, 'a>) -> Result<Vec<Cow<'a, str>>, Wrong> {
    let [topics] = members(&whole, ["topics"])?;
    let topics = required(topics, "topics")?;
    let texts = topics.elements()?.map(|topic| topic.text("a string"));
    Ok(texts.collect::<Result<_, _>>()?)
}

fn publish<'a>(whole: Part<'_, 'a>, schema: Option<&Schema>) -> Result<ClientMessage<'a>, Wrong> {
    let [topic, name, args, ts, metadata] =
        members(&whole, ["topic", "event", "args", "ts", "metadata"])?;
    let topic = not_empty(required(topic, "topic")?)?;
    let name = not_empty(required(name, "event")?)?;
    let args = args.map(|args| args.inside(ENVELOPE));
    let args = match (schema, args) {
        (Some(schema), args) => schema.read_args(&name, args)?,
        (None, Some(args)) => untyped(args)?,
        (None, None) => vec![],
    };
    let metadata = metadata.map(|part| part.inside(ENVELOPE).metadata()).transpose()?;
    let metadata = metadata.filter(|entries| !entries.is_empty());
    let event = Event { name: name.into_owned().into(), args, metadata };
    let Some(ts) = ts else { return Ok(ClientMessage::Publish { topic, event }) };
    if event.metadata(Event::NETWORK_TIMESTAMP).is_some() {
        let message = "ts: expected no network timestamp (id 1) in metadata as well";
        return Err(Wrong::bad_message(message));
    }
    let event = event.with_network_timestamp(time(ts)?);
    Ok(ClientMessage::Publish { topic, event })
}

fn not_empty<'a>(part: Part<'_, 'a>) -> Result<Cow<'a, str>, ReadableError> {
    const EXPECTED: &str = "a string that is not empty";
    let text = part.text(EXPECTED)?;
    if text.is_empty() { Err(part.unexpected(EXPECTED)) } else { Ok(text) }
}

/// Reads arguments that nothing declares.
fn untyped(args: Part<'_, '_>) -> Result<Vec<Value>, ReadableError> {
    match args.json() {
        Json::Object(_) => Err(args.unexpected("an array, as no schema file names the arguments")),
        _ => args.elements()?.map(Part::value).collect(),
    }
}

/// Reads a time from its text only: of a number, people forget which unit is meant.
fn time(part: Part<'_, '_>) -> Result<Timestamp, ReadableError> {
    const EXPECTED: &str = "a time as in 2026-01-01T00:00:00Z, from 1678 to 2261";
    part.text(EXPECTED)?;
    match part.value_of("time") {
        Ok(Some(Value::Timestamp(time))) => Ok(time),
        _ => Err(part.unexpected(EXPECTED)),
    }
}

fn notices<'a>(whole: Part<'_, 'a>) -> Result<ClientMessage<'a>, Wrong> {
    const EXPECTED: &str = "nodes, bus or stats";
    let [kinds] = members(&whole, ["kinds"])?;
    let mut notices = Notices::default();
    for kind in required(kinds, "kinds")?.elements()? {
        match &*kind.text(EXPECTED)? {
            "nodes" => notices.nodes = true,
            "bus" => notices.bus = true,
            "stats" => notices.stats = true,
            _ => return Err(kind.unexpected(EXPECTED).into()),
        }
    }
    Ok(ClientMessage::Notices(notices))
}

fn resume<'a>(whole: Part<'_, 'a>) -> Result<ClientMessage<'a>, Wrong> {
    let [session, after] = members(&whole, ["session", "after"])?;
    let session = required(session, "session")?.text("a string")?;
    let after = required(after, "after")?;
    match after.json().as_u64() {
        Some(after) => Ok(ClientMessage::Resume { session, after }),
        None => Err(after.unexpected("the number of an event").into()),
    }
}
