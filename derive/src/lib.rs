//! The derive macros of the crate `zcluster`, which re-exports them: use them from there.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use proc_macro::TokenStream;

mod event;
mod log;
mod name;

/// Makes a struct a typed event: its fields are the arguments, in the order of their declaration.
///
/// The struct also derives serde's `Serialize` to be published, and `Deserialize` to be received.
/// The name is that of the event in Zeek's scripts.
///
/// ```ignore
/// use serde::{Deserialize, Serialize};
/// use zcluster::Event;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(name = "Demo::ping")]
/// struct Ping {
///     greeting: String,
///     number: u64,
/// }
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn event(input: TokenStream) -> TokenStream {
    expand(input, event::implement)
}

/// Makes a struct the record of a log stream: its fields are the columns.
///
/// `#[log(name = "id.orig_h")]` renames a column, `#[log(skip)]` leaves a field out, as fields
/// without `&log` are in Zeek. A field that is a log record itself becomes several columns, their
/// names joined by `.`; an `Option` is `&optional`.
///
/// ```ignore
/// use zcluster::LogRecord;
///
/// #[derive(LogRecord)]
/// struct Seen<'a> {
///     ts: Timestamp,
///     host: &'a str,
///     #[log(skip)]
///     retries: u32,
/// }
/// ```
#[proc_macro_derive(LogRecord, attributes(log))]
pub fn log_record(input: TokenStream) -> TokenStream {
    expand(input, log::record)
}

/// Makes an enum an `enum` of Zeek in logs, or a struct around one value what is in it.
///
/// Values have the name in `#[log(name = "Scan::PORT")]`, or that in `#[serde(rename = "…")]`, or
/// their own.
#[proc_macro_derive(LogScalar, attributes(log))]
pub fn log_scalar(input: TokenStream) -> TokenStream {
    expand(input, log::scalar)
}

fn expand(
    input: TokenStream,
    implement: fn(&syn::DeriveInput) -> Result<proc_macro2::TokenStream, syn::Error>,
) -> TokenStream {
    let implementation = syn::parse(input).and_then(|input| implement(&input));
    implementation.unwrap_or_else(|error| error.to_compile_error()).into()
}
