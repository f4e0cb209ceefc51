//! One WebSocket client: frames on a TCP connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::PATIENCE;
use crate::plan::Api;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of a client, which is masked.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        medium => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// That many times the same message, and then a ping, whose answer shows that they were read.
pub(crate) fn block(message: &str, times: usize) -> Arc<[u8]> {
    let mut bytes = frame(TEXT, message.as_bytes()).repeat(times);
    bytes.extend(frame(PING, b"read?"));
    bytes.into()
}

/// What a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got<'a> {
    Text(&'a [u8]),
    Pong,
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// The beginning of a frame that is not complete.
    carry: Vec<u8>,
    out: Option<(Arc<[u8]>, usize)>,
    owes_pong: bool,
}

impl Client {
    /// Connects, and subscribes to a prefix, if there is one. Blocks until that is confirmed.
    pub(crate) fn connect(address: SocketAddr, api: Api, prefix: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            api.path()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            response.push(byte[0]);
        }
        assert!(response.starts_with(b"HTTP/1.1 101"), "{}", bstr::BStr::new(&response));
        stream.write_all(&frame(TEXT, api.subscribe(prefix).as_bytes())).unwrap();
        let mut client = Client { stream, carry: Vec::new(), out: None, owes_pong: false };
        let mut buffer = vec![0; 4096];
        let mut is_confirmed = false;
        while !is_confirmed {
            client.read(&mut buffer, |got| {
                if let Got::Text(text) = got {
                    is_confirmed |= text.starts_with(api.answer().as_bytes());
                }
            });
        }
        client.stream.set_nonblocking(true).unwrap();
        client
    }

    /// Reads once and passes on what is complete.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(Got<'_>)) {
        let start = self.carry.len();
        buffer[..start].copy_from_slice(&self.carry);
        let length = match self.stream.read(&mut buffer[start..]) {
            Ok(0) => panic!("the connection was closed"),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        };
        let mut rest = &buffer[..start + length];
        while let Some((opcode, header, length)) = head(rest)
            && let Some(payload) = rest.get(header..header + length)
        {
            match opcode {
                TEXT => each(Got::Text(payload)),
                PONG => each(Got::Pong),
                PING => self.owes_pong = true,
                CLOSE => panic!("closed: {}", bstr::BStr::new(payload)),
                _ => panic!("a frame of type {opcode}"),
            }
            rest = &rest[header + length..];
        }
        self.carry.clear();
        self.carry.extend_from_slice(rest);
        if self.owes_pong && self.out.is_none() {
            self.write(None);
        }
    }

    /// Writes the rest of what it had to write, and then `block`. `true` if that was begun.
    pub(crate) fn write(&mut self, mut block: Option<&Arc<[u8]>>) -> bool {
        let had_block = block.is_some();
        loop {
            let (bytes, written) = match &mut self.out {
                Some(out) => out,
                None if std::mem::take(&mut self.owes_pong) => {
                    self.out.insert((frame(PONG, b"").into(), 0))
                }
                None => match block.take() {
                    Some(block) => self.out.insert((Arc::clone(block), 0)),
                    None => break,
                },
            };
            match self.stream.write(&bytes[*written..]) {
                Ok(length) => *written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
            if *written == bytes.len() {
                self.out = None;
            }
        }
        had_block && block.is_none()
    }

    /// Whether something is still to be written.
    pub(crate) fn is_writing(&self) -> bool {
        self.out.is_some()
    }
}

/// Type, length of the header, and length of the payload of the next frame, which is not masked.
fn head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, length, ..] = *bytes else { return None };
    let opcode = first & 0x0f;
    Some(match length {
        126 => (opcode, 4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (opcode, 10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        _ => (opcode, 2, length.into()),
    })
}
