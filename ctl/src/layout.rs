//! `zcluster layout`: checks a layout file, imports one from Zeek script, exports one to it.
//!
//! The result goes to stdout, messages about it to stderr.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zcluster::access::inspect::{Finding, inspect};
use zcluster::atomic_file;
use zcluster::daemon::{self, Failure};
use zcluster::exit::ExitCode;
use zcluster::layout::{
    self, Diagnostic, Layout, LoadError, Severity, to_toml, to_toml_with_secrets, zeek,
};
use zeroize::Zeroizing;

use crate::output::{self, cannot, end, say};

/// The name under which Zeek finds the layout.
const LAYOUT_FILE: &str = "cluster-layout.zeek";

/// The subcommands of `zcluster layout`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check a layout file and show all its errors and warnings.
    ///
    /// Also checks the environment variables that the processes of a cluster read, and the key
    /// files on this host.
    Check {
        /// The layout file.
        #[arg(default_value = "cluster-layout.toml")]
        file: PathBuf,
    },
    /// Convert Zeek scripts to a layout file.
    ///
    /// Reads cluster-layout.zeek, and options as in zeekctl-config.zeek or in the scripts that
    /// `export` writes. Writes the layout to stdout, or to a file with --out, but only if the
    /// scripts have no errors. Comments replace secret CURVE keys unless --secrets is given.
    Import {
        /// Write the layout to this file, and leave an existing file unchanged if the import fails
        /// (with `> FILE`, the shell empties it first).
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Include the secret keys. Protect the layout as you protect the scripts.
        #[arg(long)]
        secrets: bool,
        /// The scripts, in the order in which Zeek loads them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Convert a layout file to Zeek scripts.
    ///
    /// Writes cluster-layout.zeek, and with --out also zcluster.zeek, which has the endpoints and
    /// options; load it from local.zeek. CURVE keys are left out.
    Export {
        /// Write both files to this directory. Without this option, prints cluster-layout.zeek
        /// only.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Replace existing files that `export` did not write.
        #[arg(long, requires = "out")]
        force: bool,
        /// The layout file.
        #[arg(default_value = "cluster-layout.toml")]
        file: PathBuf,
    },
}

/// Runs the subcommand.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Check { file } => check(file),
        Command::Import { files, secrets, out } => import(files, *secrets, out.as_deref()),
        Command::Export { file, out: None, .. } => export(file),
        Command::Export { file, out: Some(out), force } => export_to(file, out, *force),
    };
    done.unwrap_or_else(|code| code)
}

fn check(file: &Path) -> Result<ExitCode, ExitCode> {
    let checked = layout::check(file, daemon::variable).map_err(|error| wrong(&error))?;
    for diagnostic in &checked.diagnostics {
        say(&diagnostic.to_string());
    }
    for error in &checked.errors {
        for line in error.to_string().lines() {
            say(&format!("zcluster: {line}"));
        }
    }
    let mut findings = Vec::new();
    if let Some(loaded) = &checked.loaded {
        findings = inspect(&loaded.layout);
        let open = loaded.layout.open_metrics();
        findings.extend(open.map(|message| Finding { is_error: false, message }));
        let readable = loaded.has_secrets().then(|| daemon::readable_secrets(file)).flatten();
        findings.extend(readable.map(|message| Finding { is_error: false, message }));
    }
    for Finding { is_error, message } in &findings {
        say(&format!("zcluster: {}{message}", if *is_error { "" } else { "warning: " }));
    }
    let lines = |error: &LoadError| error.to_string().lines().count();
    let errors = checked.errors.iter().map(lines).sum::<usize>()
        + count(&checked.diagnostics, Severity::Error)
        + findings.iter().filter(|finding| finding.is_error).count();
    let warnings = count(&checked.diagnostics, Severity::Warning)
        + findings.iter().filter(|finding| !finding.is_error).count();
    tell_counts(errors, warnings);
    let Some(loaded) = checked.loaded.filter(|_| errors == 0) else {
        return Err(ExitCode::Config);
    };
    let layout = loaded.layout;
    let nodes = layout.nodes.len();
    let loggers = layout.log_receivers().count();
    print(&format!(
        "{}: {nodes} node{}, {loggers} of them receiv{} logs\n",
        file.display(),
        if nodes == 1 { "" } else { "s" },
        if loggers == 1 { "es" } else { "e" },
    ))
}

fn import(files: &[PathBuf], secrets: bool, out: Option<&Path>) -> Result<ExitCode, ExitCode> {
    let mut importer = zeek::Importer::new();
    for file in files {
        // Zeek scripts are bytes; anything that is not UTF-8 can only be in strings and comments.
        let text = fs::read(file).map(Zeroizing::new).map_err(|error| unreadable(file, &error))?;
        let name = file.display().to_string();
        match String::from_utf8_lossy(&text) {
            Cow::Borrowed(text) => importer.file(text, &name),
            Cow::Owned(text) => importer.file(&Zeroizing::new(text), &name),
        }
    }
    let import = importer.finish();
    tell(&import.diagnostics);
    if count(&import.diagnostics, Severity::Error) > 0 {
        say(
            "zcluster: no layout was written: fix the scripts, or leave out statements that cannot \
             be converted",
        );
        return Err(ExitCode::Data);
    }
    let text = if secrets {
        to_toml_with_secrets(&import.layout)
    } else {
        Zeroizing::new(to_toml(&import.layout))
    };
    let Some(out) = out else { return print(&text) };
    let mode = if secrets { 0o600 } else { 0o644 };
    let written = atomic_file::replace(out, mode, text.as_bytes());
    let done = end(written.map_err(|error| cannot("write", out, &error)));
    if done == ExitCode::Ok {
        say(&format!("zcluster: wrote {}", out.display()));
        // An existing file keeps its permissions.
        if let Some(message) = secrets.then(|| daemon::readable_secrets(out)).flatten() {
            say(&format!("zcluster: warning: {message}"));
        }
    }
    Ok(done)
}

fn export(file: &Path) -> Result<ExitCode, ExitCode> {
    let exported = zeek::export(&layout(file)?);
    let done = print(&exported.layout)?;
    say(&format!(
        "zcluster: endpoints and options are left out, because Zeek loads cluster-layout.zeek too \
         early for them: `--out DIR` writes them to DIR/{}",
        zeek::OPTIONS_FILE
    ));
    Ok(done)
}

/// Writes both scripts, or neither if one of them would replace a file that `export` did not write.
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
                        "{} exists and was not written by `zcluster layout export`: --force \
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
            "zcluster: wrote {layout}, for Zeek's script path, and {options}, to load from \
             local.zeek"
        ));
        if !exported.left_out.is_empty() {
            let names = exported.left_out.join(", ");
            say(&format!("zcluster: left out, because Zeek has no such options: {names}"));
        }
    }
    Ok(done)
}

/// Reads a layout file without the environment, because the file itself is exported.
fn layout(file: &Path) -> Result<Layout, ExitCode> {
    match layout::load(file, |_| None) {
        Ok(loaded) => {
            tell(&loaded.warnings);
            Ok(loaded.layout)
        }
        Err(error) => Err(wrong(&error)),
    }
}

/// Says why there is no layout.
fn wrong(error: &LoadError) -> ExitCode {
    match error {
        LoadError::Layout(errors) => tell(&errors.diagnostics),
        error => say(&format!("zcluster: {error}")),
    }
    error.exit_code()
}

fn unreadable(file: &Path, error: &io::Error) -> ExitCode {
    say(&format!("zcluster: cannot read {}: {error}", file.display()));
    ExitCode::Io
}

/// Shows the diagnostics, and how many there are.
fn tell(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        say(&diagnostic.to_string());
    }
    tell_counts(count(diagnostics, Severity::Error), count(diagnostics, Severity::Warning));
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
}

fn tell_counts(errors: usize, warnings: usize) {
    let plural = |count, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    if errors + warnings > 0 {
        say(&format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")));
    }
}

/// Writes to stdout and returns the command's exit code.
fn print(text: &str) -> Result<ExitCode, ExitCode> {
    match end(output::print(text)) {
        ExitCode::Ok => Ok(ExitCode::Ok),
        failed => Err(failed),
    }
}
