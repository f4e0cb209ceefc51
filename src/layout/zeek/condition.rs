//! [`Condition`]: for which nodes a part of a script applies.
//!
//! Scripts ask which node reads them (`Cluster::local_node_type()`, `Cluster::node`). That stays
//! open until all nodes are known; other conditions that cannot be evaluated here remain unknown,
//! with the reason.

use std::rc::Rc;

use super::super::NodeType;

/// Maximum number of parts of a condition: constants may hold conditions, so size could double with
/// each line.
const MAX_PARTS: usize = 64;

/// A truth value that may differ from node to node, or be unknown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    part: Rc<Part>,
    /// The number of parts, counting each occurrence.
    parts: usize,
}

#[derive(Debug, PartialEq)]
enum Part {
    Known(bool),
    /// Cannot be known here; the text names what it depends on.
    Unknown(Rc<str>),
    /// The node has that type.
    Type(NodeType),
    /// The node has that name.
    Name(Rc<str>),
    /// The name of the node contains that text.
    NameHas(Rc<str>),
    Not(Condition),
    Both(Condition, Condition),
    Either(Condition, Condition),
}

impl Condition {
    fn new(part: Part) -> Self {
        let parts = match &part {
            Part::Not(one) => 1 + one.parts,
            Part::Both(one, other) | Part::Either(one, other) => 1 + one.parts + other.parts,
            _ => 1,
        };
        if parts > MAX_PARTS {
            return Self::unknown("a condition that is too long");
        }
        Condition { part: Rc::new(part), parts }
    }

    pub(super) fn known(value: bool) -> Self {
        Self::new(Part::Known(value))
    }

    /// `what` completes "it depends on …".
    pub(super) fn unknown(what: impl Into<Rc<str>>) -> Self {
        Self::new(Part::Unknown(what.into()))
    }

    pub(super) fn is_type(node_type: NodeType) -> Self {
        Self::new(Part::Type(node_type))
    }

    pub(super) fn is_name(name: &str) -> Self {
        // Every process that reads a layout has a name.
        if name.is_empty() { Self::known(false) } else { Self::new(Part::Name(name.into())) }
    }

    pub(super) fn name_has(text: &str) -> Self {
        if text.is_empty() { Self::known(true) } else { Self::new(Part::NameHas(text.into())) }
    }

    pub(super) fn not(&self) -> Self {
        match &*self.part {
            Part::Known(value) => Self::known(!value),
            Part::Not(inner) => inner.clone(),
            Part::Unknown(_) => self.clone(),
            _ => Self::new(Part::Not(self.clone())),
        }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        match (self.as_known(), other.as_known()) {
            (Some(true), _) | (_, Some(false)) => other.clone(),
            (Some(false), _) | (_, Some(true)) => self.clone(),
            _ => Self::new(Part::Both(self.clone(), other.clone())),
        }
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        match (self.as_known(), other.as_known()) {
            (Some(false), _) | (_, Some(true)) => other.clone(),
            (Some(true), _) | (_, Some(false)) => self.clone(),
            _ => Self::new(Part::Either(self.clone(), other.clone())),
        }
    }

    /// Its value, if it is the same for all nodes.
    pub(super) fn as_known(&self) -> Option<bool> {
        match *self.part {
            Part::Known(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it holds for a node of that type and, if known, that name; `None` if unknown.
    pub(super) fn holds_for(&self, node_type: NodeType, name: Option<&str>) -> Option<bool> {
        let holds = |part: &Self| part.holds_for(node_type, name);
        match &*self.part {
            Part::Known(value) => Some(*value),
            Part::Unknown(_) => None,
            Part::Type(wanted) => Some(*wanted == node_type),
            Part::Name(wanted) => Some(name? == &**wanted),
            Part::NameHas(text) => Some(name?.contains(&**text)),
            Part::Not(inner) => holds(inner).map(|value| !value),
            Part::Both(one, other) => match (holds(one), holds(other)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Part::Either(one, other) => match (holds(one), holds(other)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }

    /// What it depends on, as in "it depends on …".
    pub(super) fn asks_for(&self) -> &str {
        match &*self.part {
            Part::Unknown(what) => what,
            Part::Not(inner) => inner.asks_for(),
            Part::Both(one, other) | Part::Either(one, other) => match one.asks_for() {
                "which node reads it" => other.asks_for(),
                what => what,
            },
            _ => "which node reads it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_simple_where_they_can_be() {
        let (yes, no) = (Condition::known(true), Condition::known(false));
        let logger = Condition::is_type(NodeType::Logger);
        let unknown = Condition::unknown("x");
        for (condition, expected) in [
            (logger.and(&no), Some(false)),
            (no.and(&unknown), Some(false)),
            (unknown.or(&yes), Some(true)),
            (yes.not().not(), Some(true)),
            (logger.or(&logger.not()), None),
            (Condition::is_name(""), Some(false)),
            (Condition::name_has(""), Some(true)),
            (unknown.not(), None),
        ] {
            assert_eq!(condition.as_known(), expected, "{condition:?}");
        }
        assert_eq!(logger.and(&yes), logger);
        assert_eq!(no.or(&logger), logger);
    }

    #[test]
    fn each_node_has_its_own_truth() {
        let logger = Condition::is_type(NodeType::Logger);
        let first = Condition::is_name("logger-1");
        let unknown = Condition::unknown("the weather");
        let holds =
            |condition: &Condition, node_type| condition.holds_for(node_type, Some("logger-1"));
        for (condition, for_logger, for_worker) in [
            (logger.clone(), Some(true), Some(false)),
            (logger.not(), Some(false), Some(true)),
            (logger.and(&first), Some(true), Some(false)),
            (logger.and(&first.not()), Some(false), Some(false)),
            (logger.or(&first), Some(true), Some(true)),
            (logger.and(&unknown), None, Some(false)),
            (logger.or(&unknown), Some(true), None),
            (Condition::name_has("ger-"), Some(true), Some(true)),
        ] {
            assert_eq!(holds(&condition, NodeType::Logger), for_logger, "{condition:?}");
            assert_eq!(holds(&condition, NodeType::Worker), for_worker, "{condition:?}");
        }
        assert_eq!(first.holds_for(NodeType::Logger, None), None);
        assert_eq!(logger.and(&unknown).asks_for(), "the weather");
        assert_eq!(logger.not().asks_for(), "which node reads it");
    }

    #[test]
    fn doubling_ends() {
        let mut condition = Condition::is_type(NodeType::Logger);
        for _ in 0..100 {
            condition = condition.and(&condition);
        }
        assert!(condition.parts <= MAX_PARTS);
        assert_eq!(condition.holds_for(NodeType::Logger, None), None);
    }
}
