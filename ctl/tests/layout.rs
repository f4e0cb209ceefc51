//! `zcluster layout` as its users see it: its output and exit codes.
#![allow(clippy::unwrap_used, missing_docs)]
// snapbox writes its snapshots like this.
#![allow(clippy::needless_raw_string_hashes)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::cmd::Command;
use snapbox::{file, str};

/// The command, started in the directory of these tests' files.
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
    for (command, what) in
        [("check", "the layout file "), ("export", "the layout file "), ("import", "")]
    {
        let expected = format!(
            "zcluster: cannot read {what}no-such-file: No such file or directory (os error 2)\n"
        );
        layout()
            .args([command, "no-such-file"])
            .assert()
            .code(74)
            .stdout_eq("")
            .stderr_eq(expected);
    }
}

/// Checks a layout file with that text and those variables; returns the exit code and standard
/// error.
fn check(text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.toml");
    fs::write(&path, text).unwrap();
    let mut command = layout().arg("check").arg("l.toml").current_dir(dir.path());
    for (name, value) in variables {
        command = command.env(name, value);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const MANAGER: &str = "[nodes.m]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\nport = 1\n";

#[test]
fn what_every_zeek_user_types_is_one_clear_line() {
    assert_eq!(
        check(&MANAGER.replace("\"127.0.0.1\"", "127.0.0.1"), &[]),
        (
            Some(78),
            "l.toml:3:6: an address is text: write ip = \"127.0.0.1\"\n3 | ip = 127.0.0.1\n  |      \
             ^^^^^^^^^\n1 error, 0 warnings\n"
                .to_owned()
        )
    );
    assert_eq!(
        check(&format!("[log\n{MANAGER}[log]\n{MANAGER}"), &[]).1,
        "l.toml:1:1: the header of a table has no `]`: write [log]\n1 | [log\n  | ^^^^\n\
         l.toml:6:1: [log] appears twice, first at line 1; expected it once\n6 | [log]\n  | ^^^^^\n\
         l.toml:7:1: [nodes.m] appears twice, first at line 2; expected it once\n7 | [nodes.m]\n  \
         | ^^^^^^^^^\n3 errors, 0 warnings\n"
    );
}

#[test]
fn the_environment_is_checked_as_the_processes_read_it() {
    let xpub = "ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT";
    let xsub = "ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT";
    let key = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY";
    let port = "expected a TCP port from 0 to 65535, such as 5560 or \"5560/tcp\"";
    for (variables, expected) in [
        (vec![(xpub, "abc")], format!("environment variable {xpub}: found \"abc\", {port}")),
        (vec![(xsub, "70000")], format!("environment variable {xsub}: found \"70000\", {port}")),
        (
            vec![(xsub, "1")],
            format!(
                "environment variable {xsub}: the broker's XSUB uses tcp://127.0.0.1:1, as does \
                 the log socket of `m`; expected a separate port"
            ),
        ),
        (
            vec![(key, "hunter2")],
            format!("environment variable {key}: found 7 characters, expected a key of 40 characters of Z85"),
        ),
        (
            vec![("ZEEK_DEFAULT_LISTEN_ADDRESS", "everywhere")],
            "environment variable ZEEK_DEFAULT_LISTEN_ADDRESS: found \"everywhere\", expected an IPv4 \
             or IPv6 address, not a name, which each host may look up differently; `getent hosts \
             everywhere` shows its address"
                .into(),
        ),
        (
            vec![("ZEEK_LOG_SUFFIX", "a/b")],
            "environment variable ZEEK_LOG_SUFFIX: found \"a/b\", expected a file extension".into(),
        ),
        (vec![("CLUSTER_NODE", "x")], "'x' is not a node of l.toml; it has m".into()),
    ] {
        let expected = format!("zcluster: {expected}\n1 error, 0 warnings\n");
        assert_eq!(check(MANAGER, &variables), (Some(78), expected), "{variables:?}");
    }
    let good = [(xpub, "7001"), ("CLUSTER_NODE", "m"), ("ZEEK_LOG_SUFFIX", "")];
    assert_eq!(check(MANAGER, &good), (Some(0), String::new()));
    // Reported together with the mistakes in the file, not instead of them.
    let (code, told) = check(&MANAGER.replace("port", "prt"), &[(xpub, "abc"), (xsub, "abd")]);
    assert_eq!(code, Some(78));
    assert!(
        told.contains("unknown key `prt`") && told.ends_with("3 errors, 0 warnings\n"),
        "{told}"
    );
}

#[test]
fn keys_are_checked_as_far_as_this_host_sees_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.toml");
    fs::write(&path, format!("[curve]\nmode = \"per-node\"\n{MANAGER}")).unwrap();
    let check = || {
        let output = layout().arg("check").arg("l.toml").current_dir(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(
        check(),
        (
            Some(78),
            "zcluster: `mode = \"per-node\"` without any public keys: keys/authorized does not exist; \
             `zcluster keygen --per-node` creates keys\nzcluster: warning: the directory of secret \
             keys keys/secret does not exist: no process of this layout can start on this host\n1 \
             error, 1 warning\n"
                .to_owned()
        )
    );
    let keygen = Command::new(snapbox::cmd::cargo_bin!("zcluster"));
    keygen.args(["keygen", "--per-node", "--layout"]).arg(&path).assert().success();
    assert_eq!(check(), (Some(0), String::new()));

    let secret = dir.path().join("keys/secret/m.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(dir.path().join("keys/authorized/broker.pub")).unwrap();
    let (code, told) = check();
    assert_eq!(code, Some(78));
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("zcluster: the broker has no public key, so it cannot connect"));
    assert!(lines[1].contains("keys/secret/m.secret has mode 0644, so others may read"), "{told}");
    assert_eq!(lines[2..], ["2 errors, 0 warnings"]);

    // Secrets in the layout itself.
    let keys = Command::new(snapbox::cmd::cargo_bin!("zcluster")).arg("keygen").output().unwrap();
    let keys = String::from_utf8(keys.stdout).unwrap();
    fs::write(&path, format!("{keys}{MANAGER}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, told) = check();
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.starts_with("zcluster: warning: l.toml holds secret keys and has mode 0644"),
        "{told}"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(check(), (Some(0), String::new()));
}

#[test]
fn files_that_are_no_layout_are_one_line() {
    let zeek = layout().args(["check", "cluster-layout.zeek"]).assert().code(78);
    zeek.stdout_eq("").stderr_eq(str![[r#"
cluster-layout.zeek:1:1: this is Zeek script; expected a layout file: `zcluster layout import` converts it to one
1 | redef Cluster::manager_is_logger = F;
  | ^
1 error, 0 warnings

"#]]);
    layout().args(["check", "."]).assert().code(74).stderr_eq(str![[r#"
zcluster: cannot read the layout file .: Is a directory (os error 21)

"#]]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.toml");
    for (bytes, code, expected) in [
        (
            &b"\xff\xfe[\0"[..],
            78,
            "zcluster: [..]/l.toml:1:1: this is UTF-16; expected UTF-8 text\n",
        ),
        (
            b"\x7fELF\0\xff",
            78,
            "zcluster: [..]/l.toml:1:6: this is not text; expected UTF-8 text\n",
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        layout().arg("check").arg(&path).assert().code(code).stdout_eq("").stderr_eq(expected);
    }
}

#[test]
fn the_default_file_is_cluster_layout_toml() {
    layout().arg("check").assert().code(74).stderr_eq(str![[r#"
zcluster: cannot read the layout file cluster-layout.toml: No such file or directory (os error 2)

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
        .success()
        .stdout_eq(file!["layout/imported.toml"].raw())
        .stderr_eq(file!["layout/imported.stderr"].raw());
}

#[test]
fn an_import_that_fails_makes_no_layout() {
    layout()
        .args(["import", "broken.zeek", "zeekctl-config.zeek"])
        .assert()
        .code(65)
        .stdout_eq("")
        .stderr_eq(file!["layout/broken-import.stderr"].raw());
}

#[test]
fn import_writes_a_file_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cluster-layout.toml");
    let import = |script: &str| {
        layout().args(["import", script, "zeekctl-config.zeek", "--out"]).arg(&out).assert()
    };
    let names = || fs::read_dir(dir.path()).unwrap().count();
    import("broken.zeek").code(65).stdout_eq("");
    assert_eq!(names(), 0);

    import("cluster-layout.zeek").success().stdout_eq("").stderr_eq(str![[r#"
...
zcluster: wrote [..]/cluster-layout.toml

"#]]);
    snapbox::assert_data_eq!(
        fs::read_to_string(&out).unwrap(),
        file!["layout/imported.toml"].raw()
    );
    layout().arg("check").arg(&out).assert().success().stderr_eq("");

    // An existing file is unchanged.
    fs::write(&out, "# mine\n").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o640)).unwrap();
    import("broken.zeek").code(65).stdout_eq("");
    assert_eq!(fs::read_to_string(&out).unwrap(), "# mine\n");
    import("cluster-layout.zeek").success();
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(names(), 1);

    let nowhere = dir.path().join("none/l.toml");
    layout()
        .args(["import", "cluster-layout.zeek", "--out"])
        .arg(nowhere)
        .assert()
        .code(74)
        .stdout_eq("")
        .stderr_eq(str![[r#"
...
zcluster: cannot write [..]/none/l.toml: [..]

"#]]);
}

#[test]
fn secrets_are_written_for_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("l.toml");
    let key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    let options = ["server_publickey", "server_secretkey", "client_publickey", "client_secretkey"];
    let redef = |name| format!("redef Cluster::Backend::ZeroMQ::curve_{name} = \"{key}\";\n");
    let script = dir.path().join("keys.zeek");
    fs::write(&script, options.map(redef).concat()).unwrap();
    let import = || {
        let import = layout().args(["import", "cluster-layout.zeek", "zeekctl-config.zeek"]);
        import.arg(&script).args(["--secrets", "--out"]).arg(&out).assert().success()
    };
    import();
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644)).unwrap();
    import().stderr_eq(str![[r#"
...
zcluster: warning: [..]/l.toml holds secret keys and has mode 0644, so any user of this host can read them: chmod o-r [..]/l.toml

"#]]);
}

#[test]
fn export_prints_the_layout_and_says_where_the_rest_goes() {
    layout()
        .args(["export", "../../../cluster-layout.toml"])
        .assert()
        .success()
        .stdout_eq(file!["layout/exported.zeek"].raw())
        .stderr_eq(str![[r#"
zcluster: endpoints and options are left out, because Zeek loads cluster-layout.zeek too early for them: `--out DIR` writes them to DIR/zcluster.zeek

"#]]);
}

#[test]
fn export_writes_both_scripts_to_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("site");
    let export = || layout().args(["export", "../../../cluster-layout.toml", "--out"]).arg(&out);
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    export().assert().success().stdout_eq("").stderr_eq(str![[r#"
zcluster: wrote [..]/site/cluster-layout.zeek, for Zeek's script path, and [..]/site/zcluster.zeek, to load from local.zeek
zcluster: left out, because Zeek has no such options: [broker] metrics_port

"#]]);
    snapbox::assert_data_eq!(read("cluster-layout.zeek"), file!["layout/exported.zeek"].raw());
    snapbox::assert_data_eq!(read("zcluster.zeek"), file!["layout/exported-options.zeek"].raw());

    // Again to the same place, whose permissions stay.
    let path = out.join("zcluster.zeek");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    export().assert().success();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);

    // Does not overwrite a file that a user wrote, and then writes neither of the two.
    fs::write(&path, "# mine\n").unwrap();
    fs::write(out.join("cluster-layout.zeek"), "# Written by `zcluster layout export`.\n").unwrap();
    export().assert().code(74).stdout_eq("").stderr_eq(str![[r#"
zcluster: [..]/zcluster.zeek exists and was not written by `zcluster layout export`: --force replaces it

"#]]);
    assert_eq!(read("zcluster.zeek"), "# mine\n");
    assert_eq!(read("cluster-layout.zeek").lines().count(), 1);
    export().arg("--force").assert().success();
    snapbox::assert_data_eq!(read("zcluster.zeek"), file!["layout/exported-options.zeek"].raw());

    // Importing gives the same cluster.
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
    // Options that Zeek does not have.
    imported.cluster.name.clone_from(&shipped.cluster.name);
    imported.broker.clone_from(&shipped.broker);
    assert_eq!(imported, shipped);
}
