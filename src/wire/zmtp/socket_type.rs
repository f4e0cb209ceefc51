//! Socket types, and which of them may connect to which.

/// Socket types that the cluster uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SocketType {
    Pub,
    Sub,
    Xpub,
    Xsub,
    Push,
    Pull,
}

impl SocketType {
    const ALL: [Self; 6] = [
        SocketType::Pub,
        SocketType::Sub,
        SocketType::Xpub,
        SocketType::Xsub,
        SocketType::Push,
        SocketType::Pull,
    ];

    /// The name in READY commands.
    pub const fn name(self) -> &'static str {
        match self {
            SocketType::Pub => "PUB",
            SocketType::Sub => "SUB",
            SocketType::Xpub => "XPUB",
            SocketType::Xsub => "XSUB",
            SocketType::Push => "PUSH",
            SocketType::Pull => "PULL",
        }
    }

    /// The type with that name.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name().as_bytes() == name)
    }

    /// Whether a socket of this type may talk to one of type `other`.
    pub fn goes_with(self, other: Self) -> bool {
        use SocketType::{Pub, Pull, Push, Sub, Xpub, Xsub};
        match self {
            Pub | Xpub => matches!(other, Sub | Xsub),
            Sub | Xsub => matches!(other, Pub | Xpub),
            Push => other == Pull,
            Pull => other == Push,
        }
    }
}
