//! Chooses the exposition format that a scraper asks for (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};
use mediatype::{MediaType, MediaTypeList, Name, ReadParams};

use crate::telemetry::Exposition;

/// The weight of a range that has none, in thousandths.
const MOST: u16 = 1000;

/// Returns OpenMetrics if the client names it and prefers nothing else, otherwise the classic text
/// format: clients that do not know OpenMetrics send `*/*`, or no header.
///
/// Malformed ranges are ignored, and every request gets an answer.
pub(super) fn exposition(headers: &HeaderMap) -> Exposition {
    let mut openmetrics = None;
    // By specificity: any type, any text, plain text.
    let mut text = [None; 3];
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    for range in lines.flat_map(MediaTypeList::new).flatten() {
        let place = match (range.ty.as_str(), range.subty.as_str(), range.suffix) {
            ("*", "*", None) => &mut text[0],
            (ty, "*", None) if ty.eq_ignore_ascii_case("text") => &mut text[1],
            (ty, subty, None)
                if ty.eq_ignore_ascii_case("text") && subty.eq_ignore_ascii_case("plain") =>
            {
                &mut text[2]
            }
            (ty, subty, None)
                if ty.eq_ignore_ascii_case("application")
                    && subty.eq_ignore_ascii_case("openmetrics-text")
                    && parameter(&range, "version").is_none_or(|version| version == "1.0.0") =>
            {
                &mut openmetrics
            }
            _ => continue,
        };
        // A client may name several versions of a format; versions of plain text are not
        // distinguished.
        *place = (*place).max(Some(quality(&range)));
    }
    let text = text.into_iter().rev().flatten().next().unwrap_or(0);
    match openmetrics {
        Some(quality) if quality > 0 && quality >= text => Exposition::OpenMetrics,
        _ => Exposition::Text,
    }
}

fn parameter(range: &MediaType<'_>, name: &str) -> Option<String> {
    let value = range.get_param(Name::new(name)?)?;
    Some(value.unquoted_str().into_owned())
}

/// The weight of a range, in thousandths; [`MOST`] unless it is a number between 0 and 1.
fn quality(range: &MediaType<'_>) -> u16 {
    let value = parameter(range, "q").and_then(|text| text.parse::<f32>().ok());
    let value = value.filter(|value| (0.0..=1.0).contains(value));
    value.map_or(MOST, |value| (value * f32::from(MOST)).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Exposition::{OpenMetrics, Text};
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    const NAMED: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    fn ask(lines: &[&str]) -> Exposition {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        exposition(&headers)
    }

    #[test]
    fn who_names_openmetrics_gets_it() {
        // What Prometheus 2 and 3 send.
        const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1";
        const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;\
             escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,\
             */*;q=0.1";
        const TEXT_FIRST: &str = "text/plain;version=0.0.4;q=0.5,\
             application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1";
        let rows: &[(&[&str], Exposition)] = &[
            (&[], Text),
            (&[""], Text),
            (&["*/*"], Text),
            (&["text/plain"], Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text),
            (&["application/json"], Text),
            (&["application/*"], Text),
            (&[PROMETHEUS_2], OpenMetrics),
            (&[PROMETHEUS_3], OpenMetrics),
            (&[TEXT_FIRST], Text),
            (&[NAMED], OpenMetrics),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["APPLICATION/OpenMetrics-Text;VERSION=\"1.0.0\""], OpenMetrics),
            (&["application/openmetrics-text ; version=1.0.0 ; q=0.5"], OpenMetrics),
            (&["text/plain", "application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text", "*/*"], OpenMetrics),
            // Refused, or less wanted.
            (&["application/openmetrics-text;q=0"], Text),
            (&["application/openmetrics-text;q=0.000, */*;q=0.001"], Text),
            (&["application/openmetrics-text;q=0.5, */*"], Text),
            (&["application/openmetrics-text;q=0.5, text/*;q=0.6, */*;q=0.1"], Text),
            (&["application/openmetrics-text;q=0.5, text/plain;q=0.4, text/*"], OpenMetrics),
            (&["application/openmetrics-text;q=0.001, text/plain;q=0"], OpenMetrics),
            // A version that does not exist.
            (&["application/openmetrics-text;version=0.0.1"], Text),
            (&["application/openmetrics-text;version=2.0.0, */*"], Text),
            // Malformed ranges do not affect the others.
            (&[",, application/openmetrics-text,;;,=,\"", ","], OpenMetrics),
            (&["text/plain;q=x, application/openmetrics-text;q=0.9"], Text),
            (&["application/openmetrics-text;q=2, text/plain;q=-1"], OpenMetrics),
            (&["a, \"application/openmetrics-text\""], Text),
        ];
        for (lines, expected) in rows {
            assert_eq!(ask(lines), *expected, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_answered(lines in prop::collection::vec("[ -~]{0,40}", 0..4)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            ask(&lines);
        }

        /// A client that names only OpenMetrics gets it, whatever the parameters.
        #[test]
        fn what_is_malformed_does_not_matter(junk in "[a-z;=./ ]{0,40}") {
            prop_assume!(!junk.contains("text/"));
            let line = format!("{NAMED}, {junk}");
            prop_assert_eq!(ask(&[&line]), OpenMetrics);
        }
    }
}
