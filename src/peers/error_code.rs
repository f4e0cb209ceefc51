//! [`ErrorCode`]: the numbers and names of Zeek's `Broker::ErrorCode`.

use serde::{Deserialize, Serialize};

use crate::node::PeerFault;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $code:ident = $number:literal, $name:literal;)*) => {
        /// `Broker::ErrorCode`, complete; this library raises those of peers, and `Unspecified`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $name)] $code = $number,)*
        }

        impl ErrorCode {
            /// All of them, by number.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$code),*];

            /// The name of the enum value in Zeek script.
            pub const fn zeek_name(self) -> &'static str {
                match self {
                    $(ErrorCode::$code => $name,)*
                }
            }
        }
    };
}

error_codes! {
    /// No error.
    NoError = 0, "Broker::NO_ERROR";
    /// No more is known. The app ends because of something that is not the broker's fault.
    Unspecified = 1, "Broker::UNSPECIFIED";
    /// The other side speaks another protocol, or only one side encrypts.
    PeerIncompatible = 2, "Broker::PEER_INCOMPATIBLE";
    /// It is not the peer that the keys are for, or it does not accept the key of this node.
    PeerInvalid = 3, "Broker::PEER_INVALID";
    /// Nothing listens there, or it cannot be reached.
    PeerUnavailable = 4, "Broker::PEER_UNAVAILABLE";
    /// It disconnected during the handshake.
    PeerDisconnectDuringHandshake = 5, "Broker::PEER_DISCONNECT_DURING_HANDSHAKE";
    /// It does not answer.
    PeerTimeout = 6, "Broker::PEER_TIMEOUT";
    /// A store has a master already.
    MasterExists = 7, "Broker::MASTER_EXISTS";
    /// A store has no master.
    NoSuchMaster = 8, "Broker::NO_SUCH_MASTER";
    /// A store has no such key.
    NoSuchKey = 9, "Broker::NO_SUCH_KEY";
    /// A request to a store took too long.
    RequestTimeout = 10, "Broker::REQUEST_TIMEOUT";
    /// A value is of another type than the operation needs.
    TypeClash = 11, "Broker::TYPE_CLASH";
    /// A value cannot be used for the operation.
    InvalidData = 12, "Broker::INVALID_DATA";
    /// The backend of a store failed.
    BackendFailure = 13, "Broker::BACKEND_FAILURE";
    /// The backend of a store has outdated data.
    StaleData = 14, "Broker::STALE_DATA";
    /// A file cannot be opened.
    CannotOpenFile = 15, "Broker::CANNOT_OPEN_FILE";
    /// A file cannot be written.
    CannotWriteFile = 16, "Broker::CANNOT_WRITE_FILE";
    /// The key of a topic is unknown.
    InvalidTopicKey = 17, "Broker::INVALID_TOPIC_KEY";
    /// The end of a file was reached.
    EndOfFile = 18, "Broker::END_OF_FILE";
    /// The tag of a type is unknown.
    InvalidTag = 19, "Broker::INVALID_TAG";
    /// A status is not valid.
    InvalidStatus = 20, "Broker::INVALID_STATUS";
    /// A problem of the library under Zeek's Broker.
    CafError = 100, "Broker::CAF_ERROR";
}

impl ErrorCode {
    /// Its name without that of the module: `NO_SUCH_KEY`.
    pub fn name(self) -> &'static str {
        let name = self.zeek_name();
        name.strip_prefix("Broker::").unwrap_or(name)
    }

    /// Its number in Zeek.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code with that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl From<PeerFault> for ErrorCode {
    fn from(fault: PeerFault) -> Self {
        match fault {
            PeerFault::Unavailable => ErrorCode::PeerUnavailable,
            PeerFault::Unanswered => ErrorCode::PeerTimeout,
            PeerFault::BrokenOff => ErrorCode::PeerDisconnectDuringHandshake,
            PeerFault::Incompatible => ErrorCode::PeerIncompatible,
            PeerFault::Keys => ErrorCode::PeerInvalid,
            PeerFault::Other => ErrorCode::Unspecified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::value::{from_value, to_value};

    #[test]
    fn codes_have_zeeks_names_and_numbers() {
        let known = [(0, "NO_ERROR"), (4, "PEER_UNAVAILABLE"), (6, "PEER_TIMEOUT")];
        let more = [(11, "TYPE_CLASH"), (20, "INVALID_STATUS"), (100, "CAF_ERROR")];
        for (number, name) in known.into_iter().chain(more) {
            let code = ErrorCode::from_number(number).unwrap();
            assert_eq!(code.zeek_name(), format!("Broker::{name}"));
            assert_eq!(code.name(), name);
        }
        assert_eq!((ErrorCode::ALL.len(), ErrorCode::from_number(21)), (22, None));
        for code in ErrorCode::ALL {
            let value = to_value(code).unwrap();
            assert_eq!(value, Value::enum_value(code.zeek_name()));
            assert_eq!(from_value::<ErrorCode>(value).unwrap(), *code);
        }
    }
}
