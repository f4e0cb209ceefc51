//! Closed sets of words as the values of options: an enum for each, declared with its spellings.

use std::fmt::Display;

/// The words as in "expected …".
pub(super) fn one_of(words: &[impl Display]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

/// Declares a closed set of words: the enum, its spellings, and how a file says one of them. With
/// `may_omit "PREFIX"`, a file may leave that out; an enum of `names` says itself how it is read.
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

/// Declares an enum of words, which may be anything else besides.
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
            /// Every variant, in the order of declaration.
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
