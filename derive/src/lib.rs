//! The derive macro `Event` of the crate `zcluster`, which re-exports it: use it from there.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use proc_macro::TokenStream;

mod event;
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
    let implementation = syn::parse(input).and_then(|input| event::implement(&input));
    implementation.unwrap_or_else(|error| error.to_compile_error()).into()
}
