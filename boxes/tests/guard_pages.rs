//! No engine touches a byte outside of its buffer, which lies between pages that may not be touched.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::ptr;

use zcluster_boxes::{Engine, Slot, StreamKey, Workspace};

/// At least the size of a page, and room for the largest buffer.
const SIZE: usize = 1 << 20;

/// Memory between two pieces of address space that may not be touched.
struct Guarded(*mut u8);

impl Guarded {
    fn new() -> Self {
        // SAFETY: new memory at an address that the system chooses, and access to the middle of it.
        unsafe {
            let (private, anonymous) = (libc::MAP_PRIVATE, libc::MAP_ANONYMOUS);
            let flags = private | anonymous;
            let start = libc::mmap(ptr::null_mut(), 3 * SIZE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let middle = start.cast::<u8>().add(SIZE);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(middle.cast(), SIZE, access), 0);
            Guarded(middle)
        }
    }

    /// The first or the last bytes of it.
    fn bytes(&mut self, len: usize, at_end: bool) -> &mut [u8] {
        assert!(len <= SIZE);
        let start = if at_end { SIZE - len } else { 0 };
        // SAFETY: within the middle, which is readable, writable, zeroed, and borrowed as a whole.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: this is what was mapped, and nobody uses it any more.
        unsafe { libc::munmap(self.0.sub(SIZE).cast(), 3 * SIZE) };
    }
}

/// Seals and opens messages that fill the buffer.
fn check(memory: &mut Guarded, lengths: &[usize]) {
    let mut start = 0;
    let mut slots = Vec::new();
    for (number, len) in (7..).zip(lengths) {
        slots.push(Slot { number, start, len: *len, ..Slot::default() });
        start += len;
    }
    let mut work = Workspace::default();
    for engine in Engine::available() {
        let key = StreamKey::with_engine(&[3; 32], b"CurveZMQMESSAGES", engine);
        for at_end in [false, true] {
            let buffer = memory.bytes(start, at_end);
            buffer.fill(0x5a);
            key.seal(&mut work, buffer, &mut slots);
            assert_eq!(key.open(&mut work, buffer, &slots), slots.len(), "{engine:?} {lengths:?}");
            assert!(buffer.iter().all(|byte| *byte == 0x5a), "{engine:?} {lengths:?}");
        }
    }
}

#[test]
fn nothing_outside_of_the_buffer_is_touched() {
    let mut memory = Guarded::new();
    for len in 0..=300 {
        check(&mut memory, &[len]);
        check(&mut memory, &[len, 1, 300 - len, 0, 17, len]);
        check(&mut memory, &[len; 9]);
    }
    for power in 9..=17 {
        for len in (1 << power) - 40..(1 << power) + 40 {
            check(&mut memory, &[len]);
        }
        check(&mut memory, &[5, 1 << power, 100]);
    }
}
