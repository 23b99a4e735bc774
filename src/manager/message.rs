//! The messages between servers: those of python-socketio since 5.15.1, one JSON object each.
//!
//! What those cannot say travels under keys of their own, which python-socketio ignores: `except`,
//! `volatile`, `timeout`, the `attachments` of an answer, the server it is `from` and the client
//! `who` has given it, `count`, by which one null is told from no arguments, and `seq`, the number
//! that the sender has given to the message, by which one that was published twice is known. Two
//! methods are of this crate alone, and python-socketio ignores them: `unanswered`, for a client
//! that has not answered, and `probe`, which a server sends to itself.

use super::{Broadcast, BroadcastTarget};
#[cfg(feature = "pickle")]
use crate::data::Value;
use crate::data::{EncodedArgs, ReceivedArgs};
use crate::error::{Error, LimitExceeded};
use crate::handlers::AckResponse;
use crate::limits::{OUTGOING_ATTACHMENTS, OUTGOING_JSON_DEPTH, OUTGOING_NAME_BYTES};
use crate::protocol::socketio::{ROOT, is_reserved, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::time::Duration;

/// Bytes of one message. A queue that carries more is not believed.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Depth of nested lists and objects: that of an event's data, and the message's own.
const MAX_DEPTH: usize = OUTGOING_JSON_DEPTH + 4;
/// Attachments of one event: what clients of this crate take.
pub(super) const MAX_ATTACHMENTS: usize = OUTGOING_ATTACHMENTS;

/// A message that has come.
#[derive(Debug)]
pub(super) struct IncomingMessage {
    /// Server that has published it; of an answer, the one that has asked.
    pub(super) host: String,
    /// Server that has published an answer, if it says so.
    pub(super) from: Option<String>,
    pub(super) seq: Option<u64>,
    /// The server is of an old version.
    pub(super) old: Option<Old>,
    pub(super) message: ClusterMessage,
}

#[derive(Debug)]
pub(super) enum ClusterMessage {
    Emit(Box<Broadcast>, Option<ReplyTo>),
    Callback {
        id: u64,
        /// The client that has answered, or has not, if the message says so.
        who: Option<String>,
        answer: Result<AckResponse, Error>,
    },
    /// A message that a server has sent to itself, with its number.
    Probe(u64),
    Disconnect {
        namespace: String,
        sid: String,
    },
    EnterRoom {
        namespace: String,
        sid: String,
        room: String,
    },
    LeaveRoom {
        namespace: String,
        sid: String,
        room: String,
    },
    CloseRoom {
        namespace: String,
        room: String,
    },
}

/// Reply address for the answers to an event.
#[derive(Clone, Debug)]
pub(super) struct ReplyTo {
    /// Server that has published the event.
    pub(super) host: String,
    pub(super) timeout: Option<Duration>,
    /// Value that goes back with the answer.
    room: serde_json::Value,
    namespace: String,
    id: u64,
}

/// Reason why a message is dropped.
pub(super) type MessageError = &'static str;

/// Writes the messages of one server.
#[derive(Debug)]
pub(super) struct Encoder {
    host: String,
}

impl Encoder {
    pub(super) fn new(host: String) -> Encoder {
        Encoder { host }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns an event; answers are to come back under an id if there is one.
    pub(super) fn emit(
        &self,
        broadcast: &Broadcast,
        answer: Option<(u64, Duration)>,
    ) -> MessageBuilder {
        let recipients = &broadcast.recipients;
        let mut object = MessageBuilder::new("emit", &self.host, &broadcast.namespace);
        object.field("event", &broadcast.event);
        object.data(&broadcast.data);
        if broadcast.data.items == b"null" {
            object.field("count", &1);
        }
        object.field("room", &recipients.rooms.as_deref().map(one_or_many));
        let skip = (!recipients.skip.is_empty()).then(|| one_or_many(&recipients.skip));
        object.field("skip_sid", &skip);
        match answer {
            Some((id, timeout)) => {
                // The room comes back with the answer; here the id is enough.
                let rooms = recipients.rooms.as_deref().unwrap_or_default();
                let room = rooms.first().map_or("", |room| room);
                object.field("callback", &(room, &*broadcast.namespace, id));
                let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                object.field("timeout", &timeout);
            }
            None => object.field("callback", &()),
        }
        if !recipients.except.is_empty() {
            object.field("except", &recipients.except);
        }
        if broadcast.volatile {
            object.field("volatile", &true);
        }
        object
    }

    /// Returns the answer of a client to an event of another server.
    pub(super) fn callback(
        &self,
        to: &ReplyTo,
        who: Option<&str>,
        answer: &AckResponse,
    ) -> MessageBuilder {
        let mut object = self.to_asker("callback", to, who);
        // What was read is written again without fail.
        let (args, attachments) = answer.0.to_json().unwrap_or_default();
        object.raw(
            "args",
            if args.is_empty() {
                b"[]"
            } else {
                args.as_bytes()
            },
        );
        if !attachments.is_empty() {
            object.field("attachments", &base64_of(&attachments));
        }
        object
    }

    /// Returns the reason why a client does not answer an event of another server.
    pub(super) fn unanswered(
        &self,
        to: &ReplyTo,
        who: Option<&str>,
        why: &Error,
    ) -> MessageBuilder {
        let mut object = self.to_asker("unanswered", to, who);
        let why = match why {
            Error::Timeout => "timeout",
            Error::LimitExceeded(_) => "too much",
            _ => "disconnected",
        };
        object.field("why", &why);
        object
    }

    fn to_asker(&self, method: &str, to: &ReplyTo, who: Option<&str>) -> MessageBuilder {
        // The host is the one that has asked.
        let mut object = MessageBuilder::new(method, &to.host, &to.namespace);
        object.field("from", &self.host);
        object.field("sid", &to.room);
        object.field("id", &to.id);
        if let Some(who) = who {
            object.field("who", &who);
        }
        object
    }

    /// Returns a message to this server itself.
    pub(super) fn probe(&self, number: u64) -> Vec<u8> {
        let mut object = MessageBuilder::new("probe", &self.host, ROOT);
        object.field("id", &number);
        object.json.push(b'}');
        object.json
    }

    pub(super) fn disconnect(&self, namespace: &str, sid: &str) -> MessageBuilder {
        self.control("disconnect", namespace, Some(sid), None)
    }

    pub(super) fn enter_room(&self, namespace: &str, sid: &str, room: &str) -> MessageBuilder {
        self.control("enter_room", namespace, Some(sid), Some(room))
    }

    pub(super) fn leave_room(&self, namespace: &str, sid: &str, room: &str) -> MessageBuilder {
        self.control("leave_room", namespace, Some(sid), Some(room))
    }

    pub(super) fn close_room(&self, namespace: &str, room: &str) -> MessageBuilder {
        self.control("close_room", namespace, None, Some(room))
    }

    fn control(
        &self,
        method: &str,
        namespace: &str,
        sid: Option<&str>,
        room: Option<&str>,
    ) -> MessageBuilder {
        let mut object = MessageBuilder::new(method, &self.host, namespace);
        if let Some(sid) = sid {
            object.field("sid", &sid);
        }
        if let Some(room) = room {
            object.field("room", &room);
        }
        object
    }
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct MessageBuilder {
    json: Vec<u8>,
}

impl MessageBuilder {
    fn new(method: &str, host: &str, namespace: &str) -> MessageBuilder {
        let mut object = MessageBuilder {
            json: Vec::with_capacity(256),
        };
        object.field("method", &method);
        object.field("namespace", &namespace);
        object.field("host_id", &host);
        object
    }

    /// Returns the bytes of the whole message, or a few more.
    pub(super) fn max_len(&self) -> usize {
        self.json.len() + r#","seq":18446744073709551615}"#.len()
    }

    /// Returns the whole message, with the number that its sender gives it.
    pub(super) fn finish(mut self, seq: u64) -> Vec<u8> {
        self.field("seq", &seq);
        self.json.push(b'}');
        self.json
    }

    fn field(&mut self, name: &str, value: &impl Serialize) {
        self.name(name);
        // What is written here always serializes, and writing to a Vec does not fail.
        let _ = serde_json::to_writer(&mut self.json, value);
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.json.extend_from_slice(json);
    }

    fn name(&mut self, name: &str) {
        self.json
            .push(if self.json.is_empty() { b'{' } else { b',' });
        self.json.push(b'"');
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
    }

    /// Writes an event's arguments: a list, or with bytes a list of that list and the base64 of
    /// each.
    fn data(&mut self, data: &EncodedArgs) {
        let mut args = Vec::with_capacity(data.items.len() + 2);
        data.write_array(None, &mut args);
        if !data.attachments.is_empty() {
            args.insert(0, b'[');
            for text in base64_of(&data.attachments) {
                args.extend_from_slice(b",\"");
                args.extend_from_slice(text.as_bytes());
                args.push(b'"');
            }
            args.push(b']');
        }
        self.raw("data", &args);
        self.field("binary", &!data.attachments.is_empty());
    }
}

fn base64_of(attachments: &[Bytes]) -> Vec<String> {
    attachments
        .iter()
        .map(|bytes| STANDARD.encode(bytes))
        .collect()
}

fn one_or_many(names: &[String]) -> serde_json::Value {
    match names {
        [name] => name.as_str().into(),
        names => names.into(),
    }
}

/// The fields of any message.
#[derive(Deserialize)]
struct MessageFields<'a> {
    method: String,
    host_id: Option<String>,
    from: Option<String>,
    seq: Option<u64>,
    event: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    binary: Option<bool>,
    count: Option<u64>,
    namespace: Option<String>,
    room: Option<Names>,
    skip_sid: Option<Names>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    volatile: bool,
    timeout: Option<u64>,
    callback: Option<(serde_json::Value, String, u64)>,
    sid: Option<serde_json::Value>,
    id: Option<u64>,
    who: Option<String>,
    why: Option<String>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(default)]
    attachments: Vec<String>,
}

/// python-socketio takes anything for a room; numbers are in use.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(Name),
    Many(Vec<Name>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(serde_json::Number),
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        match name {
            Name::Text(text) => text,
            Name::Number(number) => number.to_string(),
        }
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Self {
        match names {
            Names::One(name) => vec![name.into()],
            Names::Many(names) => names.into_iter().map(String::from).collect(),
        }
    }
}

/// A version of python-socketio whose messages cannot be understood in all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    /// An argument that is alone is not in a list: a list is taken for several arguments.
    BareData,
    /// A message is a pickled object.
    Pickled,
}

impl Old {
    /// Returns what a message that cannot be read says of its server.
    pub(super) fn of_invalid(bytes: &[u8]) -> Option<Old> {
        // Protocols 2 to 5 of pickle begin with their number.
        let is_pickled = matches!(bytes, [0x80, 2..=5, ..]);
        is_pickled.then_some(Old::Pickled)
    }
}

impl fmt::Display for Old {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Old::BareData => {
                "a server of python-socketio below 5.15 shares the channel: of its events with one \
                 list the items arrive as arguments, and it takes the arguments of ours for one list"
            }
            Old::Pickled => {
                "a server of an old python-socketio that pickles its messages shares the channel: \
                 neither it nor this one hears the other; 5.15 and later can, and \
                 PubSubManager::accept_pickle lets this one hear it"
            }
        })
    }
}

/// The outline of a message of this server, for the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outline {
    method: String,
    event: Option<String>,
    #[serde(deserialize_with = "callback_id")]
    pub(super) callback: Option<u64>,
}

impl Outline {
    pub(super) fn of(message: &[u8]) -> Outline {
        serde_json::from_slice(message).unwrap_or_default()
    }
}

fn callback_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let callback: Option<(IgnoredAny, IgnoredAny, u64)> = Option::deserialize(deserializer)?;
    Ok(callback.map(|(_, _, id)| id))
}

impl fmt::Display for Outline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event {
            Some(event) => write!(formatter, "the event {event:?}"),
            None => write!(formatter, "the message {:?}", self.method),
        }
    }
}

/// Reads a message. Nothing in it is trusted.
pub(super) fn read(bytes: &[u8]) -> Result<IncomingMessage, MessageError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err("it is too large");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let read = read_text(text);
    if read.is_err() || json::has_lone_surrogate(text) {
        // What python writes of data that cannot be sent whole: NaN, and halves of characters.
        return read_text(&json::normalized(text, true));
    }
    read
}

/// Returns a message in pickle as it would be in JSON, if it is of plain data.
#[cfg(feature = "pickle")]
pub(super) fn of_pickle(bytes: &[u8]) -> Option<Vec<u8>> {
    let Value::Object(mut fields) = crate::parser::pickle::read(bytes).ok()? else {
        return None;
    };
    let encoded = EncodedArgs::new(&(fields.get("data")?,)).ok()?;
    let attached: usize = encoded.attachments.iter().map(|it| it.len()).sum();
    // One that is referred to often is written as often.
    if encoded.attachments.len() > MAX_ATTACHMENTS || attached > MAX_MESSAGE_BYTES / 4 * 3 {
        return None;
    }
    if encoded.attachments.is_empty() {
        return Value::Object(fields).to_json().ok().map(String::into_bytes);
    }
    // As this crate writes bytes: the arguments, and the base64 of each attachment.
    fields.swap_remove("data");
    fields.insert("binary".to_owned(), true.into());
    let mut text = Value::Object(fields).to_json().ok()?.into_bytes();
    text.pop();
    text.extend_from_slice(b",\"data\":[");
    let is_list = encoded.items.first() == Some(&b'[');
    if is_list {
        text.extend_from_slice(&encoded.items);
    } else {
        encoded.write_array(None, &mut text);
    }
    for attachment in base64_of(&encoded.attachments) {
        text.extend_from_slice(format!(",\"{attachment}\"").as_bytes());
    }
    text.extend_from_slice(b"]}");
    Some(text)
}

fn read_text(text: &str) -> Result<IncomingMessage, MessageError> {
    // Raw values skip what is nested without counting it.
    json::check(text, MAX_DEPTH).map_err(|_| "it is no JSON, or nested too deeply")?;
    let fields: MessageFields<'_> =
        serde_json::from_str(text).map_err(|_| "it is no object with the fields of a message")?;
    let namespace = fields.namespace.clone().unwrap_or(ROOT.to_owned());
    let (host, seq) = (fields.host_id.clone().unwrap_or_default(), fields.seq);
    let sid = || match &fields.sid {
        Some(serde_json::Value::String(sid)) => Ok(sid.clone()),
        _ => Err("it names no client"),
    };
    let room = |room: Option<Names>| match room.map(Vec::from).as_deref() {
        Some([room]) => Ok(String::clone(room)),
        _ => Err("it names no room"),
    };
    let message = match fields.method.as_str() {
        "emit" => return read_emit(fields, namespace, host),
        "callback" => ClusterMessage::Callback {
            id: fields.id.ok_or("it has no id")?,
            who: fields.who,
            answer: Ok(read_answer(fields.args, &fields.attachments)?),
        },
        "unanswered" => ClusterMessage::Callback {
            id: fields.id.ok_or("it has no id")?,
            who: fields.who,
            answer: Err(match fields.why.as_deref() {
                Some("timeout") => Error::Timeout,
                Some("too much") => {
                    let what = "acknowledgements of a client are awaited";
                    LimitExceeded::elsewhere(what, "pending_acks").into()
                }
                _ => Error::Disconnected,
            }),
        },
        "probe" => ClusterMessage::Probe(fields.id.ok_or("it has no id")?),
        "disconnect" => ClusterMessage::Disconnect {
            sid: sid()?,
            namespace,
        },
        "enter_room" => ClusterMessage::EnterRoom {
            sid: sid()?,
            namespace,
            room: room(fields.room)?,
        },
        "leave_room" => ClusterMessage::LeaveRoom {
            sid: sid()?,
            namespace,
            room: room(fields.room)?,
        },
        "close_room" => ClusterMessage::CloseRoom {
            namespace,
            room: room(fields.room)?,
        },
        _ => return Err("its method is not known"),
    };
    Ok(IncomingMessage {
        host,
        from: fields.from,
        seq,
        old: None,
        message,
    })
}

fn read_emit(
    fields: MessageFields<'_>,
    namespace: String,
    host: String,
) -> Result<IncomingMessage, MessageError> {
    let event = fields.event.ok_or("it names no event")?;
    if is_reserved(&event) || event.len() > OUTGOING_NAME_BYTES {
        return Err("its event has a name that cannot be");
    }
    let data = fields.data.ok_or("it has no data")?.get();
    let old = (!data.starts_with('[') && fields.host_id.is_some()).then_some(Old::BareData);
    let data = match fields.count {
        Some(1) if data == "[null]" => EncodedArgs::in_json(b"null".to_vec(), Vec::new()),
        _ => read_data(data, fields.binary.unwrap_or(false))?,
    };
    let timeout = fields.timeout.map(Duration::from_millis);
    let back = fields.callback.map(|(room, namespace, id)| ReplyTo {
        host: host.clone(),
        timeout,
        room,
        namespace,
        id,
    });
    let broadcast = Broadcast {
        namespace: namespace.into(),
        event,
        data,
        recipients: BroadcastTarget {
            rooms: fields.room.map(Vec::from),
            skip: fields.skip_sid.map(Vec::from).unwrap_or_default(),
            except: fields.except,
        },
        volatile: fields.volatile,
        ack: None,
    };
    Ok(IncomingMessage {
        host,
        from: None,
        seq: fields.seq,
        old,
        message: ClusterMessage::Emit(Box::new(broadcast), back),
    })
}

/// Returns an event's data, in the forms that python-socketio has had.
fn read_data(data: &str, binary: bool) -> Result<EncodedArgs, MessageError> {
    if !binary {
        return Ok(EncodedArgs::in_json(read_args(data)?, Vec::new()));
    }
    let parts: Vec<&RawValue> =
        serde_json::from_str(data).map_err(|_| "its data with bytes is no list")?;
    let (args, texts) = parts.split_first().ok_or("its data with bytes is empty")?;
    let texts = texts
        .iter()
        .map(|text| serde_json::from_str::<String>(text.get()));
    let texts: Vec<_> = texts
        .collect::<Result<_, _>>()
        .map_err(|_| "its bytes are no text")?;
    let attachments = read_base64(&texts)?;
    let json = read_args(args.get())?;
    check_placeholders(&json, attachments.len())?;
    Ok(EncodedArgs::in_json(json, attachments))
}

/// Returns the arguments without their brackets. A value that is no list is one argument, as it was
/// before 5.15.1; a list of one null is none, as python-socketio writes that.
fn read_args(json: &str) -> Result<Vec<u8>, MessageError> {
    let json = json.trim();
    let Some(inner) = json
        .strip_prefix('[')
        .and_then(|json| json.strip_suffix(']'))
    else {
        return Ok(if json == "null" {
            Vec::new()
        } else {
            json.into()
        });
    };
    let inner = inner.trim();
    Ok(if inner == "null" {
        Vec::new()
    } else {
        inner.into()
    })
}

fn read_answer(
    args: Option<&RawValue>,
    attachments: &[String],
) -> Result<AckResponse, MessageError> {
    let args = args.map_or("[]", RawValue::get);
    if !args.starts_with('[') {
        return Err("its arguments are no list");
    }
    let attachments = read_base64(attachments)?;
    if !attachments.is_empty() {
        json::check_placeholders(args, attachments.len()).map_err(|_| "a wrong placeholder")?;
    }
    Ok(AckResponse(ReceivedArgs::json(args, attachments)))
}

fn check_placeholders(args: &[u8], count: usize) -> Result<(), MessageError> {
    let whole = [b"[", args, b"]"].concat();
    let whole = std::str::from_utf8(&whole).map_err(|_| "it is no text")?;
    json::check_placeholders(whole, count).map_err(|_| "a wrong placeholder")
}

fn read_base64(texts: &[String]) -> Result<Vec<Bytes>, MessageError> {
    if texts.len() > MAX_ATTACHMENTS {
        return Err("it has too many attachments");
    }
    let decoded = texts
        .iter()
        .map(|text| STANDARD.decode(text).map(Bytes::from));
    decoded
        .collect::<Result<_, _>>()
        .map_err(|_| "its bytes are no base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> String {
        let ClusterMessage::Emit(broadcast, _) = read(text.as_bytes()).unwrap().message else {
            panic!("an event");
        };
        String::from_utf8(broadcast.data.items).unwrap()
    }

    #[cfg(feature = "pickle")]
    #[test]
    fn a_message_in_pickle_is_that_in_json() {
        // {'method': 'emit', 'event': 'foo', 'data': DATA, 'namespace': '/', 'room': None,
        // 'skip_sid': None, 'callback': None, 'host_id': 'aa'}
        let message = |data: &[u8]| {
            let begin =
                b"\x80\x04\x7d(\x8c\x06method\x8c\x04emit\x8c\x05event\x8c\x03foo\x8c\x04data";
            let end = b"\x8c\x09namespace\x8c\x01/\x8c\x04roomN\x8c\x08skip_sidN\x8c\x08callbackN\x8c\x07host_id\x8c\x02aau.";
            [&begin[..], data, end].concat()
        };
        let broadcast = |data: &[u8]| {
            let json = of_pickle(&message(data)).expect("plain data");
            let ClusterMessage::Emit(broadcast, None) = read(&json).expect("a message").message
            else {
                panic!("no event");
            };
            assert_eq!((&*broadcast.namespace, &*broadcast.event), ("/", "foo"));
            let text = String::from_utf8(broadcast.data.items).expect("text");
            (text, broadcast.data.attachments)
        };
        assert_eq!(
            broadcast(b"\x8c\x03bar"),
            ("\"bar\"".to_owned(), Vec::new())
        );
        assert_eq!(broadcast(b"K\x01K\x02\x86"), ("1,2".to_owned(), Vec::new()));
        let (text, attachments) = broadcast(b"C\x02xy");
        assert_eq!(text, r#"{"_placeholder":true,"num":0}"#);
        assert_eq!(attachments, [Bytes::from_static(b"xy")]);
        assert_eq!(of_pickle(b"\x80\x03cos\nsystem\n."), None);
    }

    #[test]
    fn null_is_an_argument_for_servers_that_say_so() {
        for json in ["null", "null,null", ""] {
            let broadcast = Broadcast {
                namespace: "/".into(),
                event: "e".into(),
                data: EncodedArgs::in_json(json.into(), Vec::new()),
                recipients: BroadcastTarget::default(),
                volatile: false,
                ack: None,
            };
            let written = Encoder::new("h".into()).emit(&broadcast, None).finish(1);
            let written = String::from_utf8(written).unwrap();
            assert_eq!(args(&written), json);
        }
        let python = r#"{"method":"emit","event":"e","data":[null],"namespace":"/","host_id":"h"}"#;
        assert_eq!(args(python), "");
    }

    #[test]
    fn what_python_writes_and_json_does_not_know_is_read_as_by_clients() {
        let message = |data: &str| {
            format!(r#"{{"method":"emit","event":"e","data":[{data}],"host_id":"h"}}"#)
        };
        for (written, read) in [
            (r#""\ud83d!""#, r#""\ufffd!""#),
            ("NaN,1", "null,1"),
            ("[-Infinity,1e400]", "[null,null]"),
        ] {
            assert_eq!(args(&message(written)), read);
        }
    }

    #[test]
    fn servers_of_old_versions_are_known_by_their_messages() {
        let old = |data: &str| {
            let message = format!(
                r#"{{"method":"emit","event":"e","data":{data},"binary":false,"host_id":"h"}}"#
            );
            read(message.as_bytes()).unwrap().old
        };
        assert_eq!(old(r#""alone""#), Some(Old::BareData));
        assert_eq!(old(r#"["in a list"]"#), None);
        // The beginning of what pickle writes, protocols 2 to 5.
        for protocol in 2..=5 {
            assert_eq!(Old::of_invalid(&[0x80, protocol, b'}']), Some(Old::Pickled));
        }
        assert_eq!(Old::of_invalid(b"\x80\x01"), None);
        assert_eq!(Old::of_invalid(b"junk"), None);
    }

    #[test]
    fn the_outline_of_a_message_is_what_the_log_says() {
        let event = br#"{"method":"emit","event":"news","callback":["","/",7],"seq":1}"#;
        let outline = Outline::of(event);
        assert_eq!(outline.to_string(), r#"the event "news""#);
        assert_eq!(outline.callback, Some(7));
        let other = Outline::of(br#"{"method":"close_room","room":"x","callback":null}"#);
        assert_eq!(other.to_string(), r#"the message "close_room""#);
        assert_eq!(other.callback, None);
    }

    /// A broker's message that was read and written again is read the same.
    #[test]
    fn spoilt_messages_are_read_or_dropped() {
        const MESSAGES: &[&[u8]] = &[
            br#"{"method":"emit","event":"foo","data":["bar",{"a":[1,null]}],"binary":false,"namespace":"/","room":["a",7],"skip_sid":"x","callback":["a","/",3],"host_id":"h","seq":4}"#,
            br#"{"method":"emit","event":"foo","data":[["x",{"_placeholder":true,"num":0}],"AP8="],"binary":true,"namespace":"/chat","room":null,"skip_sid":null,"callback":null,"host_id":"h"}"#,
            br#"{"method":"callback","host_id":"h","from":"g","sid":"s","namespace":"/","id":7,"args":["ok",1],"attachments":["AA=="],"seq":1}"#,
            br#"{"method":"enter_room","sid":"s","room":"r","namespace":"/","host_id":"h"}"#,
            br#"{"method":"close_room","room":"r","namespace":"/","host_id":"h","except":["y"],"volatile":true,"timeout":5}"#,
        ];
        crate::util::fuzz::run(|source| {
            let bytes = source.mutate(MESSAGES);
            let Ok(incoming) = read(&bytes) else {
                return;
            };
            let ClusterMessage::Emit(broadcast, _) = incoming.message else {
                return;
            };
            let again = Encoder::new("me".into()).emit(&broadcast, None).finish(1);
            let again = read(&again).expect("what was written can be read");
            let ClusterMessage::Emit(again, None) = again.message else {
                panic!("an event is an event");
            };
            assert_eq!(again.event, broadcast.event);
            assert_eq!(again.data.items, broadcast.data.items);
            assert_eq!(again.data.attachments, broadcast.data.attachments);
            assert_eq!(again.recipients.skip, broadcast.recipients.skip);
        });
    }
}
