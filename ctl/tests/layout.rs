//! `zcluster layout` as its users see it: what it prints, and how it exits.
#![allow(clippy::unwrap_used, missing_docs)]
// snapbox writes its snapshots so.
#![allow(clippy::needless_raw_string_hashes)]

use snapbox::cmd::Command;
use snapbox::{file, str};

/// The command, started where the files of these tests are.
fn layout() -> Command {
    Command::new(snapbox::cmd::cargo_bin!("zcluster"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout"))
        .arg("layout")
}

#[test]
fn the_shipped_layout_is_good() {
    layout()
        .args(["check", "../../../cluster-layout.toml"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
../../../cluster-layout.toml: 5 nodes, 2 of them receive logs

"#]])
        .stderr_eq(str![""]);
}

#[test]
fn check_tells_all_errors_at_once() {
    layout()
        .args(["check", "broken.toml"])
        .assert()
        .code(78)
        .stdout_eq(str![""])
        .stderr_eq(file!["layout/broken.stderr"].raw());
}

#[test]
fn a_missing_file_is_one_line() {
    for command in ["check", "export", "import"] {
        layout().args([command, "no-such-file"]).assert().code(74).stdout_eq(str![""]).stderr_eq(
            str![[r#"
zcluster: cannot read no-such-file: No such file or directory (os error 2)

"#]],
        );
    }
}

#[test]
fn the_default_file_is_cluster_layout_toml() {
    layout().arg("check").assert().code(74).stderr_eq(str![[r#"
zcluster: cannot read cluster-layout.toml: No such file or directory (os error 2)

"#]]);
}

#[test]
fn mistakes_on_the_command_line_are_64() {
    layout().arg("import").assert().code(64);
    layout().arg("chek").assert().code(64);
    layout().arg("--help").assert().success();
}

#[test]
fn import_makes_one_layout_of_several_scripts() {
    layout()
        .args(["import", "cluster-layout.zeek", "zeekctl-config.zeek"])
        .assert()
        .code(65)
        .stdout_eq(file!["layout/imported.toml"].raw())
        .stderr_eq(file!["layout/imported.stderr"].raw());
}

#[test]
fn export_writes_zeek_script() {
    layout()
        .args(["export", "../../../cluster-layout.toml"])
        .assert()
        .success()
        .stdout_eq(file!["layout/exported.zeek"].raw())
        .stderr_eq(str![""]);
}
