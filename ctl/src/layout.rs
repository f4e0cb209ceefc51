//! `zcluster layout`: check a layout file, import one from Zeek script, export one to it.
//!
//! What was asked for goes to stdout, what there is to say about it to stderr.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zcluster::atomic_file;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::{Diagnostic, Layout, Severity, to_toml, to_toml_with_secrets, zeek};
use zeroize::Zeroizing;

use crate::output::{self, cannot, end, say};

/// The name under which Zeek finds the layout.
const LAYOUT_FILE: &str = "cluster-layout.zeek";

/// The subcommands of `zcluster layout`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show all errors and warnings of a layout file.
    Check {
        /// The layout file.
        #[arg(default_value = "cluster-layout.toml")]
        file: PathBuf,
    },
    /// Make a layout file from Zeek script: cluster-layout.zeek, and the options of
    /// zeekctl-config.zeek or of `export`. The layout goes to stdout; in the place of secret CURVE keys it has
    /// comments.
    Import {
        /// Print the secret keys, too: keep what is printed as safe as the scripts.
        #[arg(long)]
        secrets: bool,
        /// The scripts, in the order Zeek loads them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Make a cluster-layout.zeek from a layout file, and with --out also zcluster.zeek, which has
    /// the endpoints and options and is loaded from local.zeek. CURVE keys are left out.
    Export {
        /// Write both files to this directory. Otherwise the first goes to stdout.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Take the place of files that `export` has not written.
        #[arg(long, requires = "out")]
        force: bool,
        /// The layout file.
        #[arg(default_value = "cluster-layout.toml")]
        file: PathBuf,
    },
}

/// Does what the command says.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Check { file } => check(file),
        Command::Import { files, secrets } => import(files, *secrets),
        Command::Export { file, out: None, .. } => export(file),
        Command::Export { file, out: Some(out), force } => export_to(file, out, *force),
    };
    done.unwrap_or_else(|code| code)
}

fn check(file: &Path) -> Result<ExitCode, ExitCode> {
    let layout = layout(file)?;
    if let Some(warning) = layout.open_metrics() {
        say(&format!("{}: warning: {warning}", file.display()));
    }
    let nodes = layout.nodes.len();
    let loggers = layout.log_receivers().count();
    print(&format!(
        "{}: {nodes} node{}, {loggers} of them receiv{} logs\n",
        file.display(),
        if nodes == 1 { "" } else { "s" },
        if loggers == 1 { "es" } else { "e" },
    ))
}

fn import(files: &[PathBuf], secrets: bool) -> Result<ExitCode, ExitCode> {
    let mut importer = zeek::Importer::new();
    for file in files {
        // Zeek script is bytes; what is not UTF-8 can only be in strings and comments.
        let text = fs::read(file).map(Zeroizing::new).map_err(|error| unreadable(file, &error))?;
        let name = file.display().to_string();
        match String::from_utf8_lossy(&text) {
            Cow::Borrowed(text) => importer.file(text, &name),
            Cow::Owned(text) => importer.file(&Zeroizing::new(text), &name),
        }
    }
    let import = importer.finish();
    tell(&import.diagnostics);
    if secrets {
        print(&to_toml_with_secrets(&import.layout))?;
    } else {
        print(&to_toml(&import.layout))?;
    }
    let failed = import.diagnostics.iter().any(|d| d.severity == Severity::Error);
    Ok(if failed { ExitCode::Data } else { ExitCode::Ok })
}

fn export(file: &Path) -> Result<ExitCode, ExitCode> {
    let exported = zeek::export(&layout(file)?);
    let done = print(&exported.layout)?;
    say(&format!(
        "zcluster: endpoints and options are not in it, as Zeek loads cluster-layout.zeek too early \
         for them: `--out DIR` writes them to DIR/{}",
        zeek::OPTIONS_FILE
    ));
    Ok(done)
}

/// Writes both scripts, or none where one of them would take somebody else's place.
fn export_to(file: &Path, out: &Path, force: bool) -> Result<ExitCode, ExitCode> {
    let exported = zeek::export(&layout(file)?);
    let files = [
        (out.join(LAYOUT_FILE), exported.layout),
        (out.join(zeek::OPTIONS_FILE), exported.options),
    ];
    let written = (|| {
        for (path, _) in files.iter().filter(|_| !force) {
            match fs::read(path) {
                Ok(text) if !zeek::Exported::is_ours(&text) => {
                    let message = format!(
                        "{} is there and was not written by `zcluster layout export`: --force \
                         replaces it",
                        path.display()
                    );
                    return Err(Failure::new(ExitCode::Io, message));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot("read", path, &error));
                }
                _ => {}
            }
        }
        fs::create_dir_all(out).map_err(|error| cannot("create", out, &error))?;
        for (path, text) in &files {
            atomic_file::replace(path, 0o644, text.as_bytes())
                .map_err(|error| cannot("write", path, &error))?;
        }
        Ok(())
    })();
    let done = end(written);
    if done == ExitCode::Ok {
        let [layout, options] = files.map(|(path, _)| path.display().to_string());
        say(&format!(
            "zcluster: wrote {layout}, for Zeek's script path, and {options}, to be loaded from \
             local.zeek"
        ));
        if !exported.left_out.is_empty() {
            let names = exported.left_out.join(", ");
            say(&format!("zcluster: left out, as Zeek has no such options: {names}"));
        }
    }
    Ok(done)
}

/// Reads a layout file without the environment: it is the file that is asked about.
fn layout(file: &Path) -> Result<Layout, ExitCode> {
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| unreadable(file, &error))?;
    match Layout::from_toml(&text, &file.display().to_string()) {
        Ok((layout, warnings)) => {
            tell(&warnings);
            Ok(layout)
        }
        Err(errors) => {
            tell(&errors.diagnostics);
            Err(ExitCode::Config)
        }
    }
}

fn unreadable(file: &Path, error: &io::Error) -> ExitCode {
    say(&format!("zcluster: cannot read {}: {error}", file.display()));
    ExitCode::Io
}

/// Shows the diagnostics and how many there are.
fn tell(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        say(&diagnostic.to_string());
    }
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let plural = |count, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors + warnings > 0 {
        say(&format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")));
    }
}

/// Writes to stdout; how the command ends then.
fn print(text: &str) -> Result<ExitCode, ExitCode> {
    match end(output::print(text)) {
        ExitCode::Ok => Ok(ExitCode::Ok),
        failed => Err(failed),
    }
}
