//! The units of systemd in `docs/systemd`: they are what the guides show, systemd takes them, they are
//! hardened, and a mistake that stays one is not tried again.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{binary, tools};
use zcluster::exit::ExitCode;

/// Each unit, its program, the name under which systemd is to look at it, and the page that shows it.
const UNITS: [[&str; 4]; 2] = [
    ["zcluster-broker.service", "zcluster-broker", "zcluster-broker.service", "broker.md"],
    [
        "zcluster-logger@.service",
        "zcluster-logger",
        "zcluster-logger@logger-1.service",
        "operators.md",
    ],
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn unit(name: &str) -> String {
    fs::read_to_string(docs().join("systemd").join(name)).unwrap()
}

/// The values of a setting, in order.
fn values<'u>(unit: &'u str, setting: &str) -> Vec<&'u str> {
    let of = |line: &'u str| line.strip_prefix(setting)?.strip_prefix('=');
    unit.lines().filter_map(of).collect()
}

#[test]
fn the_guides_show_the_units_as_they_are() {
    for [name, _, _, page] in UNITS {
        let text = fs::read_to_string(docs().join(page)).unwrap();
        assert!(text.contains(&format!("```ini\n{}```\n", unit(name))), "{page} and {name} differ");
        assert!(text.contains(&format!("systemd/{name}")), "{page} names {name}");
    }
}

#[test]
fn what_stays_wrong_is_not_tried_again_and_everything_else_is() {
    for [name, program, ..] in UNITS {
        let unit = unit(name);
        assert_eq!(values(&unit, "Restart"), ["always"], "{name}");
        assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"], "{name}");
        let stays = values(&unit, "RestartPreventExitStatus");
        let stays: Vec<i32> = stays[0].split(' ').map(|code| code.parse().unwrap()).collect();
        for (code, expected) in [
            (ExitCode::Usage, true),
            (ExitCode::Data, true),
            (ExitCode::Config, true),
            (ExitCode::Unavailable, false),
            (ExitCode::Software, false),
            (ExitCode::Io, false),
        ] {
            assert_eq!(stays.contains(&i32::from(code as u8)), expected, "{name}: {code:?}");
        }
        // The programs do end so.
        let mut command = Command::new(binary(program));
        let ended =
            command.args(["--layout", "/nonexistent", "--no-such-option"]).output().unwrap();
        assert!(stays.contains(&ended.status.code().unwrap()), "{program}");
    }
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() {
    let Some(analyze) = tools::find("systemd-analyze") else { return };
    let dir = tempfile::tempdir().unwrap();
    for [name, program, instance, _] in UNITS {
        let installed = format!("/usr/local/bin/{program}");
        let text = unit(name);
        assert!(text.contains(&format!("ExecStart={installed} ")), "{name}");
        // It looks whether the program is there.
        let built = binary(program);
        let text = text.replace(&installed, built.to_str().unwrap());
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let instance = dir.path().join(instance);
        let verified = Command::new(&analyze).args(["verify", "--man=no"]).arg(&instance).output();
        let verified = verified.unwrap();
        let told = String::from_utf8_lossy(&verified.stderr);
        let told: Vec<_> = told.lines().filter(|line| line.contains("zcluster")).collect();
        assert!(verified.status.success() && told.is_empty(), "{name}: {told:?}");

        // In tenths: 2.0 of 10.
        let args = ["security", "--no-pager", "--offline=true", "--threshold=20"];
        let rated = Command::new(&analyze).args(args).arg(&path).output().unwrap();
        let table = String::from_utf8_lossy(&rated.stdout);
        let last = table.lines().last().unwrap_or_default();
        assert!(
            rated.status.success(),
            "{name}: {last} {}",
            String::from_utf8_lossy(&rated.stderr)
        );
    }
}
