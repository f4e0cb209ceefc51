//! The tables of WIRE.md §5 and the batches of §4.5, formatted as whole records.

use std::net::IpAddr;

use bstr::ByteSlice;
use proptest::prelude::*;
use zcluster::value::{Port, Protocol, Subnet};
use zcluster::wire::zeek_bin::{
    Batch, BatchBuilder, DecodeErrorKind, FieldSpec, LogSchema, LogType, LogValue, Place, Scalar,
};

use super::*;

fn json() -> WriterOptions {
    WriterOptions { format: Format::Json, ..WriterOptions::default() }
}

fn payload(fields: Vec<FieldSpec>, records: &[&[LogValue<'_>]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(LogSchema::new("X::LOG", "x", fields)).unwrap();
    for record in records {
        builder.push(record).unwrap();
    }
    builder.finish()
}

fn formatted(payload: &[u8], options: &WriterOptions) -> String {
    let batch = Batch::decode(payload).unwrap();
    let mut out = Vec::new();
    let formatter = RecordFormatter::new(&batch, options).unwrap();
    assert_eq!(
        formatter.format_batch(&batch, &mut out).map(|done| done.records),
        Ok(batch.num_records())
    );
    out.to_str().unwrap().into()
}

/// Returns the line of a record with one column, without its end.
fn one(log_type: impl Into<LogType>, value: LogValue<'_>, options: &WriterOptions) -> String {
    let text = formatted(&payload(vec![FieldSpec::new("x", log_type)], &[&[value]]), options);
    text.strip_suffix('\n').unwrap().into()
}

fn example() -> Vec<u8> {
    let fields = vec![
        FieldSpec::new("ts", Scalar::Time),
        FieldSpec::new("id.orig_h", Scalar::Addr),
        FieldSpec::new("id.resp_p", Scalar::Port),
        FieldSpec::new("service", Scalar::String).optional(),
        FieldSpec::new("tags", LogType::Set(Scalar::String)).optional(),
    ];
    let ip = |text: &str| LogValue::Addr(text.parse::<IpAddr>().unwrap());
    payload(
        fields,
        &[
            &[
                LogValue::Time(1_767_225_600.25),
                ip("192.0.2.1"),
                LogValue::Port(Port::new(443, Protocol::Tcp)),
                "ssl".into(),
                LogValue::Set(&["a".into()]),
            ],
            &[
                LogValue::Time(1_767_225_601.0),
                ip("2001:db8::1"),
                LogValue::Port(Port::new(53, Protocol::Udp)),
                LogValue::Unset,
                LogValue::Unset,
            ],
        ],
    )
}

const EXAMPLE_LINES: &str = "1767225600.250000\t192.0.2.1\t443\tssl\ta\n\
                             1767225601.000000\t2001:db8::1\t53\t-\t-\n";

#[test]
fn the_worked_batch_prints() {
    assert_eq!(formatted(&example(), &WriterOptions::default()), EXAMPLE_LINES);
    assert_eq!(
        formatted(&example(), &json()),
        r#"{"ts":1767225600.25,"id.orig_h":"192.0.2.1","id.resp_p":443,"service":"ssl","tags":["a"]}
{"ts":1767225601.0,"id.orig_h":"2001:db8::1","id.resp_p":53}
"#
    );
}

#[test]
fn headers_and_footers() {
    let payload = example();
    let batch = Batch::decode(&payload).unwrap();
    let around = |options: &WriterOptions| {
        let formatter = RecordFormatter::new(&batch, options).unwrap();
        let (mut header, mut footer) = (Vec::new(), Vec::new());
        formatter.header("OPEN", &mut header);
        formatter.footer("CLOSE", &mut footer);
        (String::from_utf8(header).unwrap(), String::from_utf8(footer).unwrap())
    };
    let default = WriterOptions::default();
    let (header, footer) = around(&default);
    assert_eq!(
        header,
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tx\n\
         #open\tOPEN\n#fields\tts\tid.orig_h\tid.resp_p\tservice\ttags\n\
         #types\ttime\taddr\tport\tstring\tset[string]\n"
    );
    assert_eq!(footer, "#close\tCLOSE\n");

    let other = WriterOptions {
        separator: "||".into(),
        set_separator: "\x01".into(),
        empty_field: "\\".into(),
        meta_prefix: "% ".into(),
        ..default.clone()
    };
    let (header, footer) = around(&other);
    assert!(header.starts_with("% separator ||\n% set_separator||\\x01\n% empty_field||\\\\\n"));
    assert_eq!(footer, "% close||CLOSE\n");

    let tsv = WriterOptions { tsv: true, ..default.clone() };
    assert_eq!(around(&tsv), ("ts\tid.orig_h\tid.resp_p\tservice\ttags\n".into(), String::new()));
    for none in [WriterOptions { include_meta: false, ..default }, json()] {
        assert_eq!(around(&none), (String::new(), String::new()));
    }
}

#[test]
fn values_of_every_type_print() {
    let ip: IpAddr = "2001:db8::1".parse().unwrap();
    let net = Subnet::new("10.0.0.0".parse::<IpAddr>().unwrap(), 8).unwrap();
    let holes = ["a".into(), LogValue::Unset];
    let options = (WriterOptions::default(), json());
    let rows: [(LogType, LogValue<'_>, &str, &str); 22] = [
        (Scalar::Bool.into(), LogValue::Bool(true), "T", "true"),
        (Scalar::Bool.into(), LogValue::Bool(false), "F", "false"),
        (Scalar::Int.into(), LogValue::Int(-42), "-42", "-42"),
        (
            Scalar::Count.into(),
            LogValue::Count(u64::MAX),
            "18446744073709551615",
            "18446744073709551615",
        ),
        (Scalar::Port.into(), LogValue::Port(Port::new(53, Protocol::Udp)), "53", "53"),
        (Scalar::Double.into(), LogValue::Double(5e4), "50000.0", "50000.0"),
        (Scalar::Double.into(), LogValue::Double(f64::NAN), "nan", "null"),
        (Scalar::Time.into(), LogValue::Time(0.1), "0.100000", "0.1"),
        (Scalar::Interval.into(), LogValue::Interval(-0.5), "-0.500000", "-0.5"),
        (Scalar::Addr.into(), LogValue::Addr(ip), "2001:db8::1", r#""2001:db8::1""#),
        (Scalar::Subnet.into(), LogValue::Subnet(net), "10.0.0.0/8", r#""10.0.0.0/8""#),
        (Scalar::String.into(), "".into(), "(empty)", r#""""#),
        (Scalar::String.into(), "-".into(), r"\x2d", r#""-""#),
        (Scalar::String.into(), "(empty)".into(), r"\x28empty)", r#""(empty)""#),
        (Scalar::Enum.into(), LogValue::Enum(b"X::Y"), "X::Y", r#""X::Y""#),
        (Scalar::File.into(), LogValue::File(b"a\\b"), r"a\\b", r#""a\\b""#),
        (Scalar::Func.into(), LogValue::Func(b"f"), "f", r#""f""#),
        (LogType::Set(Scalar::Count), LogValue::Set(&[]), "(empty)", "[]"),
        (LogType::Set(Scalar::String), LogValue::Set(&["".into()]), "(empty)", r#"[""]"#),
        (LogType::Vector(Scalar::String), LogValue::Vector(&holes), "a,-", r#"["a",null]"#),
        (
            LogType::Vector(Scalar::String),
            LogValue::Vector(&["1,2".into(), "-".into()]),
            r"1\x2c2,\x2d",
            r#"["1,2","-"]"#,
        ),
        (
            LogType::Vector(Scalar::Bool),
            LogValue::Vector(&[LogValue::Bool(true), LogValue::Bool(false)]),
            "T,F",
            "[true,false]",
        ),
    ];
    for (log_type, value, tsv, object) in rows {
        assert_eq!(one(log_type, value, &options.0), tsv, "{value:?}");
        assert_eq!(one(log_type, value, &options.1), format!(r#"{{"x":{object}}}"#), "{value:?}");
    }
}

#[test]
fn json_escapes_strings_by_policy() {
    use JsonStringEscape as Policy;
    let policy = |policy| WriterOptions { json_string_escape_policy: policy, ..json() };
    for (raw, hex, pua, tsv) in [
        (&b"plain"[..], "plain", "plain", "plain"),
        (b"a\tb", r"a\tb", r"a\tb", r"a\\x09b"),
        (b"\x08\x0c\n\r", r"\b\f\n\r", r"\b\f\n\r", r"\\x08\\x0c\\x0a\\x0d"),
        (br"back\slash", r"back\\slash", r"back\\slash", r"back\\\\slash"),
        (br#"say "hi""#, r#"say \"hi\""#, r#"say \"hi\""#, r#"say \"hi\""#),
        ("café".as_bytes(), "café", "café", "café"),
        ("café\x07".as_bytes(), r"caf\\xc3\\xa9\\x07", r"café\udb80\udc07", r"caf\\xc3\\xa9\\x07"),
        (b"caf\xe9", r"caf\\xe9", r"caf\udb80\udce9", r"caf\\xe9"),
        // A tab stays a tab if another byte is bad.
        (b"\t\xe9", r"\t\\xe9", r"\t\udb80\udce9", r"\\x09\\xe9"),
        (
            "\u{85}\x7f".as_bytes(),
            r"\\xc2\\x85\\x7f",
            r"\udb80\udcc2\udb80\udc85\udb80\udc7f",
            r"\\xc2\\x85\\x7f",
        ),
    ] {
        for (options, expected) in
            [(policy(Policy::Hex), hex), (policy(Policy::Pua), pua), (policy(Policy::Tsv), tsv)]
        {
            let line = one(Scalar::String, LogValue::String(raw), &options);
            assert_eq!(line, format!(r#"{{"x":"{expected}"}}"#), "{raw:?} {options:?}");
            // Names always use HEX.
            let line = one(Scalar::Enum, LogValue::Enum(raw), &options);
            assert_eq!(line, format!(r#"{{"x":"{hex}"}}"#), "{raw:?} {options:?}");
        }
    }
}

#[test]
fn json_times_by_option() {
    use JsonTimestamps as Times;
    for (time, timestamps, expected) in [
        (1_767_225_600.25, Times::Epoch, "1767225600.25"),
        (1_767_225_600.25, Times::Millis, "1767225600250"),
        (1_767_225_600.25, Times::Iso8601, r#""2026-01-01T00:00:00.250000Z""#),
        (-1.5, Times::Millis, "-1500"),
        (-0.0019, Times::Millis, "-1"),
        (-0.001, Times::MillisUnsigned, "18446744073709551615"),
        (1.5, Times::MillisUnsigned, "1500"),
        (f64::NAN, Times::Epoch, "null"),
        (f64::NAN, Times::Iso8601, r#""2000-01-01T00:00:00.000000""#),
        (-62_135_596_801.0, Times::Iso8601, r#""0-12-31T23:59:59.000000Z""#),
        (f64::INFINITY, Times::Millis, "-9223372036854775808"),
    ] {
        let options = WriterOptions { json_timestamps: timestamps, ..json() };
        let line = one(Scalar::Time, LogValue::Time(time), &options);
        assert_eq!(line, format!(r#"{{"x":{expected}}}"#), "{time} {timestamps:?}");
    }
    // Intervals are always seconds.
    let options = WriterOptions { json_timestamps: Times::Millis, ..json() };
    assert_eq!(one(Scalar::Interval, LogValue::Interval(0.5), &options), r#"{"x":0.5}"#);
}

#[test]
fn unset_members_are_left_out_or_null() {
    let fields = ["a", "b", "c"].map(|name| FieldSpec::new(name, Scalar::Count)).to_vec();
    let records: [&[LogValue<'_>]; 3] = [
        &[LogValue::Unset, LogValue::Count(1), LogValue::Unset],
        &[LogValue::Unset; 3],
        &[LogValue::Count(1), LogValue::Unset, LogValue::Count(2)],
    ];
    let payload = payload(fields, &records);
    assert_eq!(formatted(&payload, &json()), "{\"b\":1}\n{}\n{\"a\":1,\"c\":2}\n");
    let options = WriterOptions { json_include_unset_fields: true, ..json() };
    assert_eq!(
        formatted(&payload, &options),
        "{\"a\":null,\"b\":1,\"c\":null}\n{\"a\":null,\"b\":null,\"c\":null}\n\
         {\"a\":1,\"b\":null,\"c\":2}\n"
    );
}

#[test]
fn other_separators_and_markers_escape_what_they_are() {
    let default = WriterOptions::default();
    let other = WriterOptions {
        separator: "::".into(),
        set_separator: "|".into(),
        empty_field: "EMPTY".into(),
        unset_field: "NIL".into(),
        ..default.clone()
    };
    let ip = LogValue::Addr("::1".parse().unwrap());
    assert_eq!(one(Scalar::String, "a::b:c|d".into(), &other), r"a\x3a\x3ab:c|d");
    assert_eq!(one(Scalar::String, "NIL".into(), &other), r"\x4eIL");
    assert_eq!(one(Scalar::String, "".into(), &other), "EMPTY");
    assert_eq!(one(Scalar::String, LogValue::Unset, &other), "NIL");
    // Zeek also escapes separators in addresses and numbers.
    assert_eq!(one(Scalar::Addr, ip, &other), r"\x3a\x3a1");
    let pair = ["a|b".into(), "c".into()];
    assert_eq!(one(LogType::Set(Scalar::String), LogValue::Set(&pair), &other), r"a\x7cb|c");
    let ascii = WriterOptions { enable_utf_8: false, ..default };
    assert_eq!(one(Scalar::String, "café\t".into(), &ascii), r"caf\xc3\xa9\x09");
}

#[test]
fn a_line_never_looks_like_a_header() {
    let default = WriterOptions::default();
    assert_eq!(one(Scalar::String, "#fields".into(), &default), r"\x23fields");
    let other = WriterOptions { meta_prefix: "##".into(), ..default };
    assert_eq!(one(Scalar::String, "#fields".into(), &other), "#fields");
    assert_eq!(one(Scalar::String, "###".into(), &other), r"\x23##");
}

#[test]
fn a_bad_batch_leaves_nothing() {
    let whole = example();
    let batch = Batch::decode(&whole).unwrap();
    for options in [WriterOptions::default(), json()] {
        let formatter = RecordFormatter::new(&batch, &options).unwrap();
        let mut out = b"before".to_vec();
        for len in 0..whole.len() {
            // The header's counts need more bytes than the batch has, or a value is cut off.
            if let Ok(cut) = Batch::decode(&whole[..len]) {
                assert!(formatter.format_batch(&cut, &mut out).is_err());
                assert_eq!(out, b"before");
            }
        }
        let mut bad = whole.clone();
        // The type of the second record's last value.
        let at = bad.len() - 6;
        bad[at] = 7;
        let bad = Batch::decode(&bad).unwrap();
        let Err(FormatError::Decode(error)) = formatter.format_batch(&bad, &mut out) else {
            panic!("a value of another type was accepted");
        };
        assert_eq!(error.place, Place::Value { record: 1, field: 4 });
        assert!(matches!(error.kind, DecodeErrorKind::TypeMismatch { found: 7, .. }));
        assert_eq!(out, b"before");
    }
}

#[test]
fn elements_follow_their_own_type() {
    // A set of strings that contains a count.
    let mut payload = payload(
        vec![FieldSpec::new("x", LogType::Set(Scalar::Count))],
        &[&[LogValue::Set(&[LogValue::Count(7)])]],
    );
    let at = payload.windows(8).position(|w| w == [0, 0, 0, 14, 0, 0, 0, 3]).unwrap();
    payload[at + 7] = 7;
    assert_eq!(formatted(&payload, &WriterOptions::default()), "7\n");
    let batch = Batch::decode(&payload).unwrap();
    assert_eq!(batch.fields().next().unwrap().log_type.to_string(), "set[string]");
}

#[test]
fn names_that_would_break_the_header_are_refused() {
    let good = payload(vec![FieldSpec::new("name", Scalar::Count)], &[]);
    let at = good.windows(4).position(|w| w == b"name").unwrap();
    for byte in [0, b'\t', b'\n', 0x7f] {
        let mut bad = good.clone();
        bad[at + 1] = byte;
        let error = RecordFormatter::new(&Batch::decode(&bad).unwrap(), &json()).unwrap_err();
        assert!(matches!(error, FormatError::FieldName { index: 0, .. }), "{error}");
    }
    for (len, is_good) in [(MAX_FIELD_NAME, true), (MAX_FIELD_NAME + 1, false)] {
        let payload = payload(vec![FieldSpec::new("x".repeat(len), Scalar::Count)], &[]);
        let batch = Batch::decode(&payload).unwrap();
        assert_eq!(RecordFormatter::new(&batch, &json()).is_ok(), is_good);
    }
    let payload =
        payload(vec![FieldSpec::new(r#"q"u\é"#, Scalar::Count)], &[&[LogValue::Count(7)]]);
    assert_eq!(formatted(&payload, &json()), "{\"q\\\"u\\\\é\":7}\n");
}

#[test]
fn a_formatter_refuses_batches_of_another_header() {
    let (first, second) = (example(), payload(vec![FieldSpec::new("x", Scalar::Int)], &[]));
    let (first, second) = (Batch::decode(&first).unwrap(), Batch::decode(&second).unwrap());
    let formatter = RecordFormatter::new(&first, &json()).unwrap();
    assert_eq!(
        formatter.format_batch(&second, &mut Vec::new()),
        Err(FormatError::OtherHeader { path: "x".into() })
    );
}

/// Formats a batch of four columns with some of them left out: `a`, a count; `b`, a set of strings;
/// `_c`, an extension column; `d`, a string.
fn columns(include: &[&str], exclude: &[&str], format: Format) -> Result<String, FormatError> {
    let fields = vec![
        FieldSpec::new("a", Scalar::Count),
        FieldSpec::new("b", LogType::Set(Scalar::String)),
        FieldSpec::new("_c", Scalar::Addr),
        FieldSpec::new("d", Scalar::String),
    ];
    let set = ["x".into(), "y,z".into()];
    let ip = LogValue::Addr("::1".parse().unwrap());
    let records: [&[LogValue<'_>]; 3] = [
        &[LogValue::Count(7), LogValue::Set(&set), ip, "text".into()],
        &[LogValue::Unset; 4],
        &[LogValue::Count(8), LogValue::Set(&[]), LogValue::Unset, "".into()],
    ];
    let payload = payload(fields, &records);
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let options = WriterOptions {
        format,
        tsv: true,
        include: names(include),
        exclude: names(exclude),
        ..WriterOptions::default()
    };
    let batch = Batch::decode(&payload).unwrap();
    let formatter = RecordFormatter::new(&batch, &options)?;
    let mut out = Vec::new();
    formatter.header("", &mut out);
    formatter.format_batch(&batch, &mut out)?;
    Ok(out.to_str().unwrap().into())
}

#[test]
fn columns_can_be_left_out() {
    for (include, exclude, tsv, json) in [
        (
            &[][..],
            &["b", "d"][..],
            "a\t_c\n7\t::1\n-\t-\n8\t-\n",
            "{\"a\":7,\"_c\":\"::1\"}\n{}\n{\"a\":8}\n",
        ),
        // Extension columns are kept.
        (
            &["d"],
            &[],
            "_c\td\n::1\ttext\n-\t-\n-\t(empty)\n",
            "{\"_c\":\"::1\",\"d\":\"text\"}\n{}\n{\"d\":\"\"}\n",
        ),
        (&["nothing"], &[], "_c\n::1\n-\n-\n", "{\"_c\":\"::1\"}\n{}\n{}\n"),
        // Unless they are excluded, which takes precedence over inclusion.
        (
            &["a", "b", "d"],
            &["_c", "a", "d"],
            "b\nx,y\\x2cz\n-\n(empty)\n",
            "{\"b\":[\"x\",\"y,z\"]}\n{}\n{\"b\":[]}\n",
        ),
    ] {
        assert_eq!(columns(include, exclude, Format::Tsv).unwrap(), tsv, "{include:?} {exclude:?}");
        assert_eq!(
            columns(include, exclude, Format::Json).unwrap(),
            json,
            "{include:?} {exclude:?}"
        );
    }
    for format in [Format::Tsv, Format::Json] {
        let all = columns(&["a", "b", "d"], &[], format);
        assert_eq!(all, columns(&[], &["other"], format));
        let error = FormatError::NoColumns { path: "x".into() };
        assert_eq!(columns(&["a"], &["a", "_c"], format), Err(error));
    }
}

#[test]
fn what_is_left_out_must_be_good_all_the_same() {
    let whole = example();
    let batch = Batch::decode(&whole).unwrap();
    let options = WriterOptions { exclude: vec!["id.resp_p".into(), "tags".into()], ..json() };
    let formatter = RecordFormatter::new(&batch, &options).unwrap();
    let find = |bytes: &[u8]| whole.find(bytes).unwrap();
    let protocol = find(&[0, 0, 1, 0xbb]) + 7;
    // Type, subtype and presence of the set, and its length.
    let element_type = find(&[0, 0, 0, 14, 0, 0, 0, 0, 1]) + 9 + 8 + 3;
    for (at, field) in [(protocol, 2), (element_type, 4)] {
        let mut bad = whole.clone();
        bad[at] = 99;
        let bad = Batch::decode(&bad).unwrap();
        let Err(FormatError::Decode(error)) = formatter.format_batch(&bad, &mut Vec::new()) else {
            panic!("accepted");
        };
        assert_eq!(error.place, Place::Value { record: 0, field });
    }
}

#[test]
fn the_worst_text_is_no_longer_than_promised() {
    let controls = "\u{80}".repeat(500);
    let values: [(LogType, LogValue<'_>); 6] = [
        (Scalar::String.into(), LogValue::String(&[0xff; 1000])),
        (Scalar::String.into(), LogValue::String(controls.as_bytes())),
        (Scalar::Double.into(), LogValue::Double(-f64::MAX)),
        (Scalar::Bool.into(), LogValue::Bool(false)),
        (Scalar::Count.into(), LogValue::Unset),
        (LogType::Vector(Scalar::Double), LogValue::Vector(&[LogValue::Double(f64::MIN); 50])),
    ];
    let policies = [JsonStringEscape::Hex, JsonStringEscape::Tsv, JsonStringEscape::Pua];
    let options = policies.map(|policy| WriterOptions {
        json_string_escape_policy: policy,
        json_include_unset_fields: true,
        ..json()
    });
    let default = WriterOptions::default();
    for (log_type, value) in values {
        for options in options.iter().chain([&default]) {
            let name = "é".repeat(MAX_FIELD_NAME / 2 - 1) + "\u{80}";
            let payload = payload(vec![FieldSpec::new(name, log_type)], &[&[value]]);
            let values = Batch::decode(&payload).unwrap().values().bytes_left();
            let name = if options.format == Format::Json { 5 * MAX_FIELD_NAME } else { 0 };
            // Ten bytes are enough for the text around a name, a value and a line.
            let text = formatted(&payload, options).len();
            assert!(text <= 19 * values + name + 10, "{text} of {values}: {value:?} {options:?}");
        }
    }
}

proptest! {
    #[test]
    fn mutated_batches_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut payload = example();
        for (index, byte) in edits {
            let at = index.index(payload.len());
            payload[at] = byte;
        }
        let Ok(batch) = Batch::decode(&payload) else { return Ok(()) };
        for options in [WriterOptions::default(), json()] {
            let Ok(formatter) = RecordFormatter::new(&batch, &options) else { continue };
            let mut out = Vec::new();
            match formatter.format_batch(&batch, &mut out) {
                Ok(done) => prop_assert_eq!(out.lines().count(), done.records as usize),
                Err(_) => prop_assert!(out.is_empty()),
            }
        }
    }

    #[test]
    fn any_string_is_one_line_that_tsv_can_split(text: Vec<u8>, json_policy in 0..3usize) {
        let value = LogValue::String(&text);
        let line = one(Scalar::String, value, &WriterOptions::default());
        let is_value = !line.contains(['\t', '\n']) && !line.starts_with('#') && line != "-";
        prop_assert!(is_value, "{}", line);
        let policies = [JsonStringEscape::Hex, JsonStringEscape::Tsv, JsonStringEscape::Pua];
        let policy = policies[json_policy];
        let options = WriterOptions { json_string_escape_policy: policy, ..json() };
        let line = one(Scalar::String, value, &options);
        prop_assert!(!line.chars().any(char::is_control));
        let is_member = line.starts_with("{\"x\":\"") && line.ends_with("\"}");
        prop_assert!(is_member, "{}", line);
    }
}
