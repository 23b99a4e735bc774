//! Plain data in Python's pickle: one dictionary for each packet.
//!
//! The decoder knows only the opcodes of plain data. Values are nodes of an arena, since streams
//! refer to what they have built, also to lists that hold themselves; the tree is built at the end,
//! with a bound on its nodes and its depth.

use super::MAX_VALUES;
use super::codec::{Codec, DecodeError, Decoder, Packet};
use crate::data::{Binary, Object, Value};
use crate::engineio::Message;
use crate::error::Error;
use std::collections::HashMap;

/// Levels of lists and dictionaries; packets are checked for fewer.
const MAX_DEPTH: usize = 256;
/// Nodes of a tree for each byte of its stream: references repeat what they name.
const MAX_NODES_PER_BYTE: usize = 4;

#[derive(Debug)]
pub(super) struct Pickle;

impl Codec for Pickle {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, Error> {
        let mut out = vec![PROTO, 4];
        write(&packet.to_object(), &mut out)?;
        out.push(STOP);
        Ok(vec![out.into()])
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Pickle)
    }
}

impl Decoder for Pickle {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, DecodeError> {
        let Message::Binary(bytes) = message else {
            return Err("text, where packets are bytes".into());
        };
        Packet::from_object(read(&bytes)?).map(Some)
    }
}

const PROTO: u8 = 0x80;
const STOP: u8 = b'.';
const MARK: u8 = b'(';

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Null => out.push(b'N'),
        Value::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => write_integer(i128::from(number), out),
            (_, Some(number)) => write_integer(i128::from(number), out),
            _ => {
                out.push(b'G');
                let number = number.as_f64().unwrap_or(f64::NAN);
                out.extend_from_slice(&number.to_be_bytes());
            }
        },
        Value::String(text) => write_counted(b'X', 0x8c, text.as_bytes(), out)?,
        Value::Binary(bytes) => write_counted(b'B', b'C', bytes, out)?,
        Value::Array(items) => {
            out.extend_from_slice(&[b']', MARK]);
            items.iter().try_for_each(|item| write(item, out))?;
            out.push(b'e');
        }
        Value::Object(entries) => {
            out.extend_from_slice(&[b'}', MARK]);
            for (key, value) in entries {
                write_counted(b'X', 0x8c, key.as_bytes(), out)?;
                write(value, out)?;
            }
            out.push(b'u');
        }
    }
    Ok(())
}

fn write_integer(number: i128, out: &mut Vec<u8>) {
    if let Ok(number) = i32::try_from(number) {
        out.push(b'J');
        return out.extend_from_slice(&number.to_le_bytes());
    }
    // Nine bytes hold every number of 64 bits with its sign.
    out.extend_from_slice(&[0x8a, 9]);
    out.extend_from_slice(&number.to_le_bytes()[..9]);
}

fn write_counted(long: u8, short: u8, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    match (u8::try_from(bytes.len()), u32::try_from(bytes.len())) {
        (Ok(length), _) => out.extend_from_slice(&[short, length]),
        (_, Ok(length)) => {
            out.push(long);
            out.extend_from_slice(&length.to_le_bytes());
        }
        _ => return Err(Error::Encode("more than 4 GiB in one value".into())),
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// Reads one value of plain data.
pub(crate) fn read(stream: &[u8]) -> Result<Value, DecodeError> {
    let mut machine = Machine {
        rest: stream,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    if !machine.rest.is_empty() {
        return Err("bytes behind the value".into());
    }
    let mut left = stream.len().saturating_mul(MAX_NODES_PER_BYTE);
    machine.build(root, 0, &mut left)
}

enum Node {
    Leaf(Value),
    List(Vec<usize>),
    Dictionary(Vec<(usize, usize)>),
}

struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a number of so many bytes, the lowest first.
    fn number(&mut self, length: usize) -> Result<u64, DecodeError> {
        let bytes = self.take(length)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn counted(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.number(length)?;
        self.take(usize::try_from(length)?)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn leaf(&mut self, value: impl Into<Value>) {
        self.push(Node::Leaf(value.into()));
    }

    fn text(&mut self, length: usize) -> Result<(), DecodeError> {
        let text = self.counted(length)?;
        self.leaf(&*String::from_utf8_lossy(text));
        Ok(())
    }

    fn bytes(&mut self, length: usize) -> Result<(), DecodeError> {
        let bytes = self.counted(length)?;
        self.leaf(Binary::from(bytes));
        Ok(())
    }

    fn pop(&mut self) -> Result<usize, DecodeError> {
        self.stack.pop().ok_or_else(|| "an empty stack".into())
    }

    /// Takes what stands above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<usize>, DecodeError> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        if mark > self.stack.len() {
            return Err("a wrong mark".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, length: usize) -> Result<(), DecodeError> {
        let start = self
            .stack
            .len()
            .checked_sub(length)
            .ok_or("an empty stack")?;
        let items = self.stack.split_off(start);
        self.push(Node::List(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<usize>) -> Result<(), DecodeError> {
        let list = *self.stack.last().ok_or("an empty stack")?;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(items),
            _ => return Err("no list to append to".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[usize]) -> Result<(), DecodeError> {
        let dictionary = *self.stack.last().ok_or("an empty stack")?;
        let (pairs, rest) = items.as_chunks::<2>();
        match (&mut self.nodes[dictionary], rest) {
            (Node::Dictionary(entries), []) => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err("no dictionary to add to".into()),
        }
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), DecodeError> {
        let top = *self.stack.last().ok_or("an empty stack")?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, length: usize) -> Result<(), DecodeError> {
        let index = u32::try_from(self.number(length)?)?;
        let node = self.memo.get(&index).ok_or("nothing is remembered there")?;
        self.stack.push(*node);
        Ok(())
    }

    fn integer(&mut self) -> Result<(), DecodeError> {
        let bytes = self.counted(1)?;
        if bytes.len() > 9 {
            return Err("an integer of more than 64 bits".into());
        }
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if is_negative { 0xff } else { 0 }; 16];
        whole[..bytes.len()].copy_from_slice(bytes);
        let number = i128::from_le_bytes(whole);
        match (u64::try_from(number), i64::try_from(number)) {
            (Ok(number), _) => self.leaf(number),
            (_, Ok(number)) => self.leaf(number),
            _ => return Err("an integer of more than 64 bits".into()),
        }
        Ok(())
    }

    fn run(&mut self) -> Result<usize, DecodeError> {
        loop {
            if self.nodes.len().max(self.stack.len()) > MAX_VALUES || self.marks.len() > MAX_DEPTH {
                return Err("too many values".into());
            }
            match self.take(1)?[0] {
                PROTO => match self.take(1)?[0] {
                    2..=5 => {}
                    _ => return Err("an unknown version".into()),
                },
                // Frames are for readers of files.
                0x95 => drop(self.take(8)?),
                STOP => return self.pop(),
                MARK => self.marks.push(self.stack.len()),
                b'N' => self.leaf(Value::Null),
                0x88 => self.leaf(true),
                0x89 => self.leaf(false),
                b'K' => {
                    let number = self.number(1)?;
                    self.leaf(number);
                }
                b'M' => {
                    let number = self.number(2)?;
                    self.leaf(number);
                }
                b'J' => {
                    let number = self.number(4)? as u32 as i32;
                    self.leaf(number);
                }
                0x8a => self.integer()?,
                b'G' => {
                    let number = self.number(8)?.swap_bytes();
                    self.leaf(f64::from_bits(number));
                }
                0x8c => self.text(1)?,
                b'X' => self.text(4)?,
                0x8d => self.text(8)?,
                b'C' => self.bytes(1)?,
                b'B' => self.bytes(4)?,
                0x8e | 0x96 => self.bytes(8)?,
                b']' | b')' | 0x8f => self.push(Node::List(Vec::new())),
                b'}' => self.push(Node::Dictionary(Vec::new())),
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.set(&items)?;
                }
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Node::List(items));
                }
                0x94 => {
                    let index = u32::try_from(self.memo.len())?;
                    self.remember(index)?;
                }
                b'q' => {
                    let index = self.number(1)? as u32;
                    self.remember(index)?;
                }
                b'r' => {
                    let index = self.number(4)? as u32;
                    self.remember(index)?;
                }
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                // Those that name a class or a function are among them.
                other => return Err(format!("it is no plain data: opcode {other:#04x}").into()),
            }
        }
    }

    fn build(&self, node: usize, depth: usize, left: &mut usize) -> Result<Value, DecodeError> {
        *left = left.checked_sub(1).ok_or("it refers to itself too often")?;
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".into());
        }
        Ok(match &self.nodes[node] {
            Node::Leaf(value) => {
                let size = match value {
                    Value::String(text) => text.len(),
                    Value::Binary(bytes) => bytes.0.len(),
                    _ => 0,
                };
                *left = left
                    .checked_sub(size)
                    .ok_or("it refers to itself too often")?;
                value.clone()
            }
            Node::List(items) => {
                let items = items.iter().map(|item| self.build(*item, depth + 1, left));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Node::Dictionary(entries) => {
                let mut object = Object::new();
                for (key, value) in entries {
                    let key = match self.build(*key, depth + 1, left)? {
                        Value::String(text) => text,
                        key @ (Value::Number(_) | Value::Bool(_) | Value::Null) => key.to_string(),
                        _ => return Err("a key that is no text".into()),
                    };
                    object.insert(key, self.build(*value, depth + 1, left)?);
                }
                Value::Object(object)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::PacketKind;
    use super::*;

    /// `{'type':2,'data':['e',1,b'\1\2',{'a':None}],'nsp':'/','id':0}`, as Python 3.8 and later write
    /// it.
    const EVENT: &[u8] = b"\x80\x04\x95\x3d\0\0\0\0\0\0\0\x7d\x94\x28\x8c\x04type\x94\x4b\x02\x8c\x04data\x94\x5d\x94\x28\x8c\x01e\x94\x4b\x01\x43\x02\x01\x02\x94\x7d\x94\x8c\x01a\x94\x4e\x73\x65\x8c\x03nsp\x94\x8c\x01/\x94\x8c\x02id\x94\x4b\0\x75\x2e";
    /// `{'a': b'x'}`, as Python 3.7 writes it.
    const OLD: &[u8] = b"\x80\x03\x7dq\0X\x01\0\0\0aq\x01C\x01xq\x02s.";

    #[test]
    fn packets_of_python_are_read_and_written() {
        let packet = Pickle.decode(EVENT.to_vec().into()).unwrap().unwrap();
        let data = Value::Array(vec![
            "e".into(),
            1.into(),
            Binary::from([1, 2]).into(),
            Value::from_json(r#"{"a":null}"#).unwrap(),
        ]);
        assert_eq!(packet, Packet::new(PacketKind::Event, "/", Some(0), data));
        let written = Pickle.encode(&packet).unwrap().remove(0);
        assert_eq!(Pickle.decode(written).unwrap(), Some(packet));
        assert_eq!(read(OLD).unwrap()["a"].as_bytes().unwrap(), &b"x"[..]);
    }

    #[test]
    fn every_number_survives() {
        for number in [0, 1, -1, 1 << 31, -(1 << 31) - 1, i64::MAX, i64::MIN] {
            let mut out = vec![PROTO, 4];
            write(&number.into(), &mut out).unwrap();
            out.push(STOP);
            assert_eq!(read(&out).unwrap(), Value::from(number));
        }
        let mut out = vec![PROTO, 4];
        write(&Value::Array(vec![u64::MAX.into(), 1.5.into()]), &mut out).unwrap();
        out.push(STOP);
        assert_eq!(
            read(&out).unwrap(),
            Value::Array(vec![u64::MAX.into(), 1.5.into()])
        );
    }

    #[test]
    fn what_is_shared_is_read_and_what_names_something_is_refused() {
        // a = [1]; [a, a]
        let shared = b"\x80\x04\x5d\x94\x28\x5d\x94\x4b\x01\x61h\x01\x65.";
        let one = Value::Array(vec![1.into()]);
        assert_eq!(read(shared).unwrap(), Value::Array(vec![one.clone(), one]));
        // `cos\nsystem\n`, and what would call it.
        for stream in [
            &b"\x80\x03cos\nsystem\n."[..],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
            b"\x80\x04NN\x52.",
            b"\x80\x04(ios\nsystem\n.",
            b"\x80\x04)\x81.",
            b"\x80\x04NNb.",
            b"\x80\x04\x82\x01.",
            b"\x80\x04Pid\n.",
        ] {
            assert!(read(stream).is_err(), "{stream:?}");
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        // A list that holds itself.
        assert!(read(b"\x80\x04\x5d\x94h\0\x61.").is_err());
        // Each list holds the one before twice.
        let mut bomb = b"\x80\x04\x5d\x94".to_vec();
        for index in 0..40u8 {
            bomb.extend_from_slice(&[b']', 0x94, MARK, b'h', index, b'h', index, b'e']);
        }
        bomb.push(STOP);
        assert!(read(&bomb).is_err());
        assert!(read(&[&[PROTO, 4][..], &[b']'; 10]].concat()).is_err());
        let deep = [&[PROTO, 4][..], &[b']'; 5_000], &[b'a'; 4_999], b"."].concat();
        assert!(read(&deep).is_err());
        assert!(read(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").is_err());
        assert!(
            read(b"\x80\x04Nr\xff\xff\xff\xff.").is_ok(),
            "an index costs nothing"
        );
    }

    #[test]
    fn spoilt_streams_are_read_or_refused() {
        crate::util::fuzz::run(|source| {
            let _ = read(&source.mutate(&[EVENT, OLD]));
        });
    }
}
