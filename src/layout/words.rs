//! Options with a closed set of values: an enum for each, declared with its spellings.

use std::fmt::Display;

/// The words as in "expected …".
pub(super) fn one_of(words: &[impl Display]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

/// Declares a closed set of words: the enum, its spellings, and how a file spells them. With
/// `may_omit "PREFIX"`, a file may omit the prefix; an enum declared with `names` defines its own
/// parsing.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)*
        }
        $(may_omit $prefix:literal)?
    ) => {
        $crate::layout::words::names! {
            $(#[$meta])*
            pub enum $name {
                $($(#[$doc])* $variant = $word,)*
            }
        }

        impl $crate::layout::setting::Scalar for $name {
            fn expected() -> String {
                $crate::layout::words::one_of(Self::ALL)
            }
            fn parse(raw: &$crate::layout::setting::Raw<'_>) -> Option<Self> {
                use $crate::layout::setting::Raw;
                let (Raw::Text(text) | Raw::Word(text)) = raw else { return None };
                let bare = |word: &'_ str| -> String {
                    $(let word = word.strip_prefix($prefix).unwrap_or(word);)?
                    word.to_owned()
                };
                let typed = bare(text);
                Self::ALL.iter().copied().find(|word| bare(word.as_str()) == typed)
            }
            fn toml(&self) -> String {
                $crate::layout::setting::toml_string(self.as_str())
            }
            fn zeek(&self) -> String {
                self.as_str().into()
            }
        }
    };
}
pub(super) use words;

/// Declares an enum of words without a parser for files.
macro_rules! names {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every variant, in order of declaration.
            pub const ALL: &'static [Self] = &[$($name::$variant,)*];

            /// The word as a layout file spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(super) use names;
