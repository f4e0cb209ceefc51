//! [`Table`]: a layout section as a list of options, and the macro that declares one.
//!
//! The TOML reader and printer, the Zeek importer and exporter and the environment all iterate over
//! sections through it, so that an option is declared once.

use zeroize::Zeroizing;

use super::setting::Setting;

/// A section whose keys are options.
pub(super) trait Table {
    /// Every option with its name, in order of declaration.
    fn options(&mut self) -> Vec<(&'static str, &mut dyn Setting)>;

    /// Other names that a file may use, each with the name of its option.
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// The names of the options whose values differ between two tables of the same section.
pub(super) fn differing(one: &mut dyn Table, other: &mut dyn Table) -> Vec<&'static str> {
    let pairs = one.options().into_iter().zip(other.options());
    // The values may include a secret.
    let text = |value: &mut dyn Setting| Zeroizing::new(value.to_toml());
    pairs.filter_map(|((name, a), (_, b))| (text(a) != text(b)).then_some(name)).collect()
}

/// Declares a section: the struct, its defaults, and its [`Table`]. An option may have a second
/// name, `option | alias: …`; members in `beside` are not options and start empty.
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* $field:ident $(| $alias:ident)?: $type:ty = $default:expr,)*
        }
        $(beside { $($(#[$beside_doc:meta])* $beside:ident: $beside_type:ty,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            $($($(#[$beside_doc])* pub $beside: $beside_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $($field: $default,)*
                    $($($beside: <$beside_type>::default(),)*)?
                }
            }
        }

        impl $crate::layout::table::Table for $name {
            fn options(&mut self) -> Vec<(&'static str, &mut dyn $crate::layout::setting::Setting)> {
                vec![$((
                    stringify!($field),
                    &mut self.$field as &mut dyn $crate::layout::setting::Setting,
                ),)*]
            }

            fn aliases(&self) -> &'static [(&'static str, &'static str)] {
                &[$($((stringify!($alias), stringify!($field)),)?)*]
            }
        }
    };
}
pub(super) use table;
