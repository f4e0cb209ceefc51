//! `zcluster layout` as its users see it: what it prints, and how it exits.
#![allow(clippy::unwrap_used, missing_docs)]
// snapbox writes its snapshots so.
#![allow(clippy::needless_raw_string_hashes)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

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
fn export_prints_the_layout_and_says_where_the_rest_goes() {
    layout()
        .args(["export", "../../../cluster-layout.toml"])
        .assert()
        .success()
        .stdout_eq(file!["layout/exported.zeek"].raw())
        .stderr_eq(str![[r#"
zcluster: endpoints and options are not in it, as Zeek loads cluster-layout.zeek too early for them: `--out DIR` writes them to DIR/zcluster.zeek

"#]]);
}

#[test]
fn export_writes_both_scripts_to_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("site");
    let export = || layout().args(["export", "../../../cluster-layout.toml", "--out"]).arg(&out);
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    export().assert().success().stdout_eq("").stderr_eq(str![[r#"
zcluster: wrote [..]/site/cluster-layout.zeek, for Zeek's script path, and [..]/site/zcluster.zeek, to be loaded from local.zeek
zcluster: left out, as Zeek has no such options: [broker] metrics_port

"#]]);
    snapbox::assert_data_eq!(read("cluster-layout.zeek"), file!["layout/exported.zeek"].raw());
    snapbox::assert_data_eq!(read("zcluster.zeek"), file!["layout/exported-options.zeek"].raw());

    // Again in its own place, whose permissions stay.
    let path = out.join("zcluster.zeek");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    export().assert().success();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);

    // Not in the place of what somebody else has written, and then neither of the two.
    fs::write(&path, "# mine\n").unwrap();
    fs::write(out.join("cluster-layout.zeek"), "# Written by `zcluster layout export`.\n").unwrap();
    export().assert().code(74).stdout_eq("").stderr_eq(str![[r#"
zcluster: [..]/zcluster.zeek is there and was not written by `zcluster layout export`: --force replaces it

"#]]);
    assert_eq!(read("zcluster.zeek"), "# mine\n");
    assert_eq!(read("cluster-layout.zeek").lines().count(), 1);
    export().arg("--force").assert().success();
    snapbox::assert_data_eq!(read("zcluster.zeek"), file!["layout/exported-options.zeek"].raw());

    // What comes back is the same cluster.
    let imported = layout()
        .arg("import")
        .args([out.join("cluster-layout.zeek"), path])
        .assert()
        .success()
        .stderr_eq("")
        .get_output()
        .stdout
        .clone();
    let read = |text: &str| zcluster::Layout::from_toml(text, "l").unwrap().0;
    let mut imported = read(std::str::from_utf8(&imported).unwrap());
    let shipped = read(include_str!("../../cluster-layout.toml"));
    // What Zeek has no name for.
    imported.cluster.name.clone_from(&shipped.cluster.name);
    imported.broker.clone_from(&shipped.broker);
    assert_eq!(imported, shipped);
}
