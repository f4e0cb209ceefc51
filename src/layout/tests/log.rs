//! `[log]` and `[log.path.NAME]`: what is accepted, rejected and warned about.

use super::*;

fn log(text: &str) -> Log {
    let (layout, warnings) = read(&format!("{HEAD}{text}")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings, [], "{text}");
    layout.log
}

#[test]
fn every_option_is_read() {
    let log = log(r#"[log]
        format_threads = 3
        rotation = "1h"
        rotation_base_time = "6:30"
        rotation_dir = "/var/spool/rotated"
        rotation_name = "archiver"
        rotation_postprocessor = "archive-log --fast"
        rotation_postprocessor_env = { SITE = "north", "_x2" = "" }
        compress = "zstd"
        compress_level = 19
        gzip_file_extension = ""
        fsync = "interval"
        fsync_interval = "250ms"
        [log.path.conn]
        format = "json"
        rotation = 0
        fsync = "batch"
        rename = "connections"
        exclude = ["uid", "id.orig_h"]
        [log.path]
        "a b".disabled = true
        "#);
    assert_eq!((log.format_threads, log.rotation), (3, Duration::from_secs(3600)));
    assert_eq!(log.rotation_base(), Some(Duration::from_secs(390 * 60)));
    assert_eq!(log.rotation_dir.as_deref(), Some("/var/spool/rotated".as_ref()));
    assert_eq!(log.rotation_name, RotationName::Archiver);
    assert_eq!(log.rotation_postprocessor, "archive-log --fast");
    let env: Vec<_> = log.rotation_postprocessor_env.iter().collect();
    assert_eq!(env, [(&"SITE".to_owned(), &"north".to_owned()), (&"_x2".into(), &String::new())]);
    assert_eq!((log.compress, log.compression_level()), (Compress::Zstd, 19));
    assert_eq!(log.gzip_extension(), None);
    assert_eq!((log.fsync, log.fsync_interval), (Fsync::Interval, Duration::from_millis(250)));
    let conn = log.for_path(b"conn");
    assert_eq!((conn.name, conn.format), ("connections".into(), LogFormat::Json));
    assert_eq!((conn.rotation, conn.fsync), (Duration::ZERO, Fsync::Batch));
    assert_eq!((conn.include, conn.exclude.len()), (&[][..], 2));
    assert!(log.for_path(b"a b").disabled && !conn.disabled);
}

#[test]
fn names_of_zeek_stand_for_ours() {
    let zeek = log(r#"[log]
        default_logdir = "spool"
        default_rotation_interval = "1day"
        log_rotate_base_time = ""
        default_rotation_dir = ""
        default_rotation_postprocessor_cmd = "x"
        default_rotation_postprocessor_cmd_env = { A = "b" }
        "#);
    let ours = Log {
        dir: "spool".into(),
        rotation: Duration::from_secs(86400),
        rotation_base_time: String::new(),
        rotation_postprocessor: "x".into(),
        rotation_postprocessor_env: [("A".to_owned(), "b".to_owned())].into(),
        ..Log::default()
    };
    assert_eq!(zeek, ours);
    assert_eq!(zeek.rotation_base(), None);
    // They are printed under zcluster's names.
    let layout = Layout { log: zeek, ..read(HEAD).unwrap().0 };
    let text = to_toml(&layout);
    assert!(text.contains("\nrotation = \"1day\"\n") && !text.contains("default_"), "{text}");

    for (text, place) in [
        ("rotation = 60\ndefault_rotation_interval = 60\n", "6:1"),
        ("default_rotation_interval = 60\nrotation = 60\n", "7:1"),
    ] {
        assert_eq!(
            errors(&format!("{HEAD}[log]\n{text}")),
            [format!(
                "{place}: [log] has `rotation` and `default_rotation_interval`, which are one \
                 option; expected one of them"
            )]
        );
    }
}

#[test]
fn each_rule_has_its_error() {
    for (text, expected) in [
        (
            "format_threads = 65",
            "6:18: `format_threads`: found `65`, expected a whole number from 0 to 64",
        ),
        ("rotation = 0.5", "6:12: `rotation`: found 500ms, expected 0 (never) or at least 1s"),
        ("rotation = \"2years\"", "`rotation`: found 2years, expected at most 31622400s"),
        (
            "rotation_base_time = \"25:00\"",
            "found \"25:00\", expected a time of day such as \"0:00\"",
        ),
        ("rotation_dir = 3", "`rotation_dir` in [log]: found `3`, expected a path"),
        ("rotation_name = \"zeek\"", "expected one of \"ascii\", \"generic\", \"archiver\""),
        ("rotation_postprocessor = \"a\\u0000\"", "`rotation_postprocessor` contains a NUL"),
        ("rotation_postprocessor_env = \"A=b\"", "found \"A=b\", expected a table of strings"),
        ("rotation_postprocessor_env = { A = 1 }", "found a table, expected a table of strings"),
        (
            "rotation_postprocessor_env = { \"A=\" = \"\" }",
            "found the name \"A=\", expected letters",
        ),
        ("rotation_postprocessor_env = { 1A = \"\" }", "found the name \"1A\", expected letters"),
        ("rotation_postprocessor_env = { \"\" = \"\" }", "found the name \"\", expected letters"),
        ("rotation_postprocessor_env = { A = \"\\u0000\" }", "the value of `A` contains a NUL"),
        ("compress = \"xz\"", "expected one of \"none\", \"zstd\", \"gzip\""),
        (
            "compress = \"zstd\"\ncompress_level = 23",
            "7:18: `compress_level`: found `23`, expected a whole number from 1 to 22",
        ),
        ("compress = \"gzip\"\ncompress_level = 10", "expected a whole number from 1 to 9"),
        ("compress = \"gzip\"\ncompress_level = 0", "expected a whole number from 1 to 9"),
        ("gzip_level = 10", "`gzip_level`: found `10`, expected a whole number from 0 to 9"),
        ("gzip_file_extension = \"/gz\"", "`gzip_file_extension`: found \"/gz\", expected a file"),
        ("fsync = \"always\"", "expected one of \"never\", \"interval\", \"batch\""),
        ("schema_timeout = 0", "`schema_timeout`: found 0s, expected at least 1s"),
        ("fsync_interval = 0", "`fsync_interval`: found `0`, expected more"),
        ("fsync_interval = \"30days\"", "`fsync_interval`: found 30days, expected at most"),
        ("max_memory = 0", "`max_memory`: found `0`, expected at least 1"),
        ("pth = 3", "6:1: unknown key `pth` in [log]; did you mean `path`?"),
        ("default_rotation_intervall = 3", "did you mean `default_rotation_interval`?"),
        ("path = 3", "6:8: [log.path]: found `3`, expected a table"),
        ("path.conn = 3", "6:13: [log.path.conn]: found `3`, expected a table"),
        ("path.\"a b\" = 3", "[log.path.\"a b\"]: found `3`, expected a table"),
        ("path.conn.renam = 3", "unknown key `renam` in [log.path.conn]; did you mean `rename`?"),
        (
            "path.conn.rotation = 0.5",
            "`rotation` of the path `conn`: found 500ms, expected 0 (never)",
        ),
        ("path.\"a/b\".disabled = true", "6:6: the path \"a/b\" contains `/`; it must fit"),
        ("path.\"\".disabled = true", "the path \"\" is empty"),
        ("path.conn.rename = \"\"", "6:20: `rename` of the path `conn` is empty"),
        ("path.conn.rename = \"../x\"", "contains `/`: found \"../x\", expected the name"),
        ("path.conn.rename = \".x\"", "`rename` of the path `conn` starts with a dot"),
        ("path.conn.rename = \"a\\n\"", "contains a control character"),
        ("path.a.rename = \"x\"\npath.b.rename = \"x\"", "7:17: `b` is renamed to `x`, as is `a`;"),
        (
            "path.a.rename = \"b\"\npath.b.disabled = true",
            "6:17: `a` is renamed to `b`, which is another path",
        ),
        (
            "path.a = { include = [\"x\", \"y\"], exclude = [\"z\", \"y\"] }",
            "the column `y` of the path `a` is in `include` and in `exclude`",
        ),
    ] {
        let errors = errors(&format!("{HEAD}[log]\n{text}\n"));
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
    let long = format!("{HEAD}[log.path.conn]\nrename = \"{}\"\n", "x".repeat(201));
    assert!(errors(&long)[0].contains("is longer than 200 bytes"));
    // Each takes three characters in a file name.
    let escaped = format!("{HEAD}[log.path.conn]\nrename = '{}'\n", r"\".repeat(67));
    assert!(errors(&escaped)[0].contains("is longer than 200 bytes"));
}

#[test]
fn what_is_legal_but_unwise_is_a_warning() {
    for (text, expected) in [
        ("max_memory = \"64KiB\"", "6:14: `max_memory` is below 16 MiB"),
        ("compress_level = 3", "6:18: `compress_level` has no effect without `compress`"),
        ("gzip_level = 6\ncompress = \"gzip\"", "7:12: `compress` has no effect with `gzip_level`"),
        ("rotation_postprocessor_env = { A = \"b\" }", "has no effect without `rotation_postp"),
    ] {
        let warnings = warnings(&format!("{HEAD}[log]\n{text}\n"));
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{text}: {warnings:?}");
    }
    // A path may be renamed to its own name.
    assert_eq!(log("[log.path.a]\nrename = \"a\"\n").for_path(b"a").name, "a");
}

#[test]
fn an_override_without_content_is_kept() {
    let (layout, _) = read(&format!("{HEAD}[log.path.\"\\u00e4 b\"]\n")).unwrap();
    assert_eq!(layout.log.path.len(), 1);
    assert_eq!(read(&to_toml(&layout)).unwrap().0, layout);
}

#[test]
fn several_loggers() {
    let (mut layout, _) = read(HEAD).unwrap();
    assert!(!layout.several_loggers());
    for name in ["a", "b"] {
        layout.nodes.insert(name.into(), Node::new(NodeType::Logger, [10, 0, 0, 1].into()));
        layout.cluster.manager_is_logger = false;
        assert_eq!(layout.several_loggers(), name == "b");
    }
}
