//! [`Slot`]: one box of a run.

use super::stream::BLOCK;

/// Bytes of a tag.
pub const TAG_SIZE: usize = 16;
/// Bytes of the keystream that are the one-time key of the tag; the message is encrypted with what
/// follows.
pub(crate) const KEY_SIZE: usize = 32;

/// From this many bytes on, libsodium computes most of the keystream of a message.
const LONG: usize = 2048;
/// Blocks that libsodium computes at once.
const LANES: usize = 16;

/// A box: its tag, and where its message is in a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The last 8 bytes of its nonce, as a number in network order.
    pub number: u64,
    /// Its tag, written by [`seal`](crate::StreamKey::seal) and checked by
    /// [`open`](crate::StreamKey::open).
    pub tag: [u8; TAG_SIZE],
    /// Where the message begins.
    pub start: usize,
    /// Bytes of the message.
    pub len: usize,
}

impl Slot {
    pub(crate) fn message(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }

    /// Where the message ends; `None` if no buffer is as large.
    pub(crate) fn end(&self) -> Option<usize> {
        self.start.checked_add(self.len)
    }

    /// Blocks of its keystream.
    pub(crate) fn blocks(&self) -> usize {
        (KEY_SIZE + self.len).div_ceil(BLOCK)
    }

    /// How many of them, from the second on, libsodium is better at: it goes wide within one message.
    pub(crate) fn direct_blocks(&self) -> usize {
        if self.len < LONG {
            return 0;
        }
        let full = (KEY_SIZE + self.len) / BLOCK;
        (full - 1) / LANES * LANES
    }
}
