//! Reads lines of text from an untrusted source. Each is held in memory, so its length is bounded.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;

/// Longer lines are refused.
pub const MAX_LINE: u64 = 16 << 20;

/// Calls the function with each line that is not blank and its number, or with what is wrong with
/// it, until the input ends or the function stops. Blocks as long as the input does.
///
/// # Errors
/// When the input cannot be read.
pub fn for_each(
    mut input: impl BufRead,
    mut take: impl FnMut(u64, Result<&str, String>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            skip_line(&mut input)?;
            Err(format!("longer than {MAX_LINE} bytes"))
        } else {
            std::str::from_utf8(&line).map_err(|error| error.to_string())
        };
        if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
            continue;
        }
        if take(number, text).is_break() {
            break;
        }
    }
    Ok(())
}

/// Reads to the end of an overlong line without keeping it.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let end = memchr::memchr(b'\n', chunk);
        let length = end.map_or(chunk.len(), |end| end + 1);
        input.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_number_and_a_bound() {
        let long = "x".repeat(usize::try_from(MAX_LINE).unwrap() + 5);
        let text = [b"a\n\n  \n\xff\n", long.as_bytes(), b"\nb"].concat();
        let mut seen = Vec::new();
        for_each(&text[..], |number, line| {
            seen.push((number, line.map(|line| line.trim_end().to_owned()).map_err(|e| e.len())));
            ControlFlow::Continue(())
        })
        .unwrap();
        let invalid = b"\xff\n".to_vec();
        let utf8 = String::from_utf8(invalid).unwrap_err().utf8_error().to_string().len();
        let too_long = format!("longer than {MAX_LINE} bytes").len();
        assert_eq!(
            seen,
            [(1, Ok("a".into())), (4, Err(utf8)), (5, Err(too_long)), (6, Ok("b".into()))]
        );
    }

    #[test]
    fn whoever_takes_the_lines_may_end_it() {
        let mut count = 0;
        for_each(&b"a\nb\nc\n"[..], |_, _| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(count, 2);
    }
}
