//! `zcluster keygen`: CURVE keys (WIRE.md §7.1), ready to paste.
//!
//! Keys go to standard output or to a new file that only its owner can read, nowhere else.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::transport::generate_curve_keypair;

/// The arguments of `zcluster keygen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One key pair only, as PREFIX_publickey and PREFIX_secretkey; say curve_client.
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["json", "zeek"])]
    prefix: Option<String>,
    /// One key pair only, as {"public":…,"secret":…}, like Zeek's generate_keypair().
    #[arg(long)]
    json: bool,
    /// Zeek script rather than a layout file.
    #[arg(long, conflicts_with = "json")]
    zeek: bool,
    /// Write to this file, with mode 0600, rather than to stdout. It must not exist.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what the command says. A failure is told on stderr: a file that exists or cannot be
/// written (74), a build without CURVE (70).
pub fn run(args: &Args) -> ExitCode {
    let made = match text(args) {
        Ok(text) => write(&text, args.out.as_deref()),
        Err(error) => Err(Failure::new(ExitCode::Software, error)),
    };
    match made {
        Ok(()) => ExitCode::Ok,
        Err(failure) => {
            eprintln!("zcluster: {}", failure.message);
            failure.code
        }
    }
}

/// The keys in the format that was asked for. Z85 has neither quotes nor backslashes: keys stand
/// in TOML, JSON and Zeek strings as they are.
fn text(args: &Args) -> Result<String, zcluster::transport::TransportError> {
    let (public, secret) = generate_curve_keypair()?;
    if args.json {
        return Ok(format!("{}\n", serde_json::json!({ "public": public, "secret": secret })));
    }
    if let Some(prefix) = &args.prefix {
        let line = |which, key| format!("{prefix}_{which}key = \"{key}\"\n");
        return Ok(line("public", public) + &line("secret", secret));
    }
    let (client_public, client_secret) = generate_curve_keypair()?;
    let keys = [
        (
            "Who connects: every node.",
            vec![
                ("curve_server_publickey", public),
                ("curve_client_publickey", client_public),
                ("curve_client_secretkey", client_secret),
            ],
        ),
        (
            "Who listens: the central broker and the loggers, with curve_client_publickey.",
            vec![("curve_server_secretkey", secret)],
        ),
    ];
    let mut text = String::new();
    if !args.zeek {
        text.push_str("[zeromq]\n");
    }
    for (role, options) in keys {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {role}");
        for (name, key) in options {
            let _ = if args.zeek {
                writeln!(text, "redef Cluster::Backend::ZeroMQ::{name} = \"{key}\";")
            } else {
                writeln!(text, "{name} = \"{key}\"")
            };
        }
    }
    Ok(text)
}

fn write(text: &str, out: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = out else {
        let mut stdout = io::stdout().lock();
        return stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::new(ExitCode::Io, format!("cannot write: {error}")));
    };
    let fail = |what: &str, error: &io::Error| {
        Failure::new(ExitCode::Io, format!("cannot {what} {}: {error}", path.display()))
    };
    let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = create.map_err(|error| fail("create", &error))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| fail("write to", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;
    use zcluster::Layout;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn keygen(args: &[&str]) -> String {
        let cli = Cli::try_parse_from(["keygen"].iter().chain(args)).unwrap();
        text(&cli.args).unwrap()
    }

    #[test]
    fn a_layout_takes_what_is_printed() {
        let node = "[nodes.control]\nnode_type = \"control\"\nip = \"127.0.0.1\"\n";
        let (layout, _) = Layout::from_toml(&(keygen(&[]) + node), "keys").unwrap();
        assert!(layout.zeromq.curve_client() && layout.zeromq.curve_server());
        let keys = [
            &layout.zeromq.curve_server_publickey,
            &layout.zeromq.curve_server_secretkey,
            &layout.zeromq.curve_client_publickey,
            &layout.zeromq.curve_client_secretkey,
        ];
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(key.expose().len(), 40);
            assert!(keys[..i].iter().all(|other| other != key));
        }
    }

    #[test]
    fn one_pair() {
        let json: serde_json::Value = serde_json::from_str(&keygen(&["--json"])).unwrap();
        let length = |name: &str| json[name].as_str().unwrap().len();
        assert_eq!((length("public"), length("secret")), (40, 40));
        let text = keygen(&["--prefix", "curve_client"]);
        let names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["curve_client_publickey", "curve_client_secretkey"]);
    }

    #[test]
    fn zeek_script() {
        let text = keygen(&["--zeek"]);
        let options = text.lines().filter(|line| !line.starts_with('#'));
        let redef = "redef Cluster::Backend::ZeroMQ::curve_";
        assert_eq!(options.filter(|o| o.starts_with(redef) && o.ends_with("\";")).count(), 4);
    }

    #[test]
    fn a_file_is_for_its_owner_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write("secret", Some(&path)).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let failure = write("other", Some(&path)).unwrap_err();
        assert_eq!(failure.code, ExitCode::Io);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
    }
}
