//! [`read`]: reads lines of bounded length from an untrusted stream.

use std::io::{self, BufRead};

/// The number of bytes kept of a line; the rest is read and discarded.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// Marks the end of a line that was longer than [`MAX_LINE`].
const CUT: &str = " … (cut)";

/// Calls `each` with every line of `stream`, without its end, until the stream ends. Bytes that are
/// not UTF-8 become replacement characters.
///
/// # Errors
/// When the stream cannot be read.
pub(crate) fn read(mut stream: impl BufRead, mut each: impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut cut = false;
    loop {
        let chunk = match stream.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let at_end = chunk.is_empty();
        let newline = memchr::memchr(b'\n', chunk);
        let part = &chunk[..newline.unwrap_or(chunk.len())];
        let fits = part.len().min(MAX_LINE - line.len());
        line.extend_from_slice(&part[..fits]);
        cut |= fits < part.len();
        let used = part.len() + usize::from(newline.is_some());
        stream.consume(used);
        if newline.is_some() || (at_end && !line.is_empty()) {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            let mut text = String::from_utf8_lossy(&line);
            if cut {
                text.to_mut().push_str(CUT);
            }
            each(&text);
            line.clear();
            cut = false;
        }
        if at_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn lines(bytes: &[u8], capacity: usize) -> Vec<String> {
        let mut lines = Vec::new();
        read(BufReader::with_capacity(capacity, bytes), |line| lines.push(line.into())).unwrap();
        lines
    }

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        for capacity in [1, 2, 3, 100] {
            assert_eq!(
                lines(b"one\r\n\ntwo\xff\nthree", capacity),
                ["one", "", "two\u{fffd}", "three"]
            );
            assert!(lines(b"", capacity).is_empty());
        }
    }

    #[test]
    fn long_lines_are_cut() {
        for capacity in [1000, 1 << 20] {
            let mut input = vec![b'x'; MAX_LINE + 1];
            input.extend_from_slice(b"\nnext\n");
            let found = lines(&input, capacity);
            assert_eq!(found.len(), 2);
            assert_eq!(found[0].len(), MAX_LINE + CUT.len());
            assert!(found[0].ends_with(CUT));
            assert_eq!(found[1], "next");
            assert_eq!(lines(&input[1..], capacity)[0].len(), MAX_LINE);
        }
    }
}
