//! Layouts in Zeek script, `cluster-layout.zeek` (WIRE.md §8.1): [`import`](import()) and
//! [`export`](export()).

mod condition;
mod cursor;
mod export;
mod expr;
mod functions;
mod import;
mod loads;
mod names;
mod settle;
#[cfg(test)]
mod tests;
mod token;
mod value;

pub use export::{Exported, OPTIONS_FILE, export};
pub use import::{Import, Importer, import};
