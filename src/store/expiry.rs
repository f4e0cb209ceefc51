//! [`Expiry`]: when an entry expires.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value::{Timespan, Timestamp};

/// When an entry expires (`ZCluster::Expiry`): at a point in time, or some time after its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expiry {
    /// When.
    pub expires: Timestamp,
    /// If set, each change of the entry sets `expires` to the time of the change, plus this.
    pub lifetime: Option<Timespan>,
}

impl Expiry {
    /// At that time, whatever happens before.
    pub fn at(time: impl Into<Timestamp>) -> Self {
        Expiry { expires: time.into(), lifetime: None }
    }

    /// That long after the last change; at most 292 years.
    pub fn after(lifetime: Duration) -> Self {
        let nanos = i64::try_from(lifetime.as_nanos()).unwrap_or(i64::MAX);
        Expiry { expires: Timestamp(0), lifetime: Some(Timespan(nanos)) }
    }

    /// As it is after a change at that time.
    pub(super) fn renewed(self, now: Timestamp) -> Self {
        match self.lifetime {
            Some(Timespan(nanos)) => {
                Expiry { expires: Timestamp(now.0.saturating_add(nanos)), ..self }
            }
            None => self,
        }
    }
}
