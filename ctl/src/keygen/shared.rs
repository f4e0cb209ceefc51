//! Keys that all nodes share (WIRE.md §7.1), ready to paste.
//!
//! They are written only to standard output or to a new file that only its owner can read.

use std::path::PathBuf;

use zcluster::daemon::Failure;
use zcluster::wire::zmtp::KeyPair;
use zeroize::Zeroizing;

use crate::output::{print_secret, write_secret};

/// The arguments of `zcluster keygen` for shared keys.
#[derive(Debug, clap::Args)]
pub(super) struct SharedArgs {
    /// Print one key pair, as PREFIX_publickey and PREFIX_secretkey, for example with the prefix
    /// curve_client.
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["json", "zeek"])]
    prefix: Option<String>,
    /// Print one key pair, as {"public":…,"secret":…}, like Zeek's generate_keypair().
    #[arg(long)]
    json: bool,
    /// Print Zeek script instead of lines for a layout file.
    #[arg(long, conflicts_with = "json")]
    zeek: bool,
    /// Write to this file, with mode 0600, instead of stdout. The file must not exist.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &SharedArgs) -> Result<(), Failure> {
    let text = text(args);
    match &args.out {
        Some(path) => write_secret(path, &text),
        None => print_secret(&text),
    }
}

/// Room for the whole output: growing would leave copies of secrets behind.
const ROOM: usize = 4096;

/// The keys in the requested format. Z85 has neither quotes nor backslashes, so keys need no
/// escaping in TOML, JSON and Zeek strings.
fn text(args: &SharedArgs) -> Zeroizing<String> {
    let pair = KeyPair::generate();
    let (public, secret) = (pair.public().to_string(), pair.secret().expose_text());
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    if args.json {
        text.extend([r#"{"public":""#, &public, r#"","secret":""#, &secret, "\"}\n"]);
        return text;
    }
    if let Some(prefix) = &args.prefix {
        for (which, key) in [("public", &public), ("secret", &secret)] {
            text.extend([prefix, "_", which, "key = \"", key, "\"\n"]);
        }
        return text;
    }
    let client = KeyPair::generate();
    let (client_public, client_secret) =
        (client.public().to_string(), client.secret().expose_text());
    let keys = [
        (
            "For processes that connect: every node.",
            vec![
                ("curve_server_publickey", &public),
                ("curve_client_publickey", &client_public),
                ("curve_client_secretkey", &client_secret),
            ],
        ),
        (
            "For processes that listen: the broker and the loggers, with curve_client_publickey.",
            vec![("curve_server_secretkey", &secret)],
        ),
    ];
    if !args.zeek {
        text.push_str("[zeromq]\n");
    }
    for (role, options) in keys {
        text.extend(["# ", role, "\n"]);
        for (name, key) in options {
            if args.zeek {
                let option = ["redef Cluster::Backend::ZeroMQ::", name, " = \"", key, "\";\n"];
                text.extend(option);
            } else {
                text.extend([name, " = \"", key, "\"\n"]);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use zcluster::Layout;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SharedArgs,
    }

    fn keygen(args: &[&str]) -> Zeroizing<String> {
        let cli = Cli::try_parse_from(["keygen"].iter().chain(args)).unwrap();
        text(&cli.args)
    }

    #[test]
    fn a_layout_takes_what_is_printed() {
        let node = "[nodes.control]\nnode_type = \"control\"\nip = \"127.0.0.1\"\n";
        let (layout, _) = Layout::from_toml(&format!("{}{node}", *keygen(&[])), "keys").unwrap();
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
}
