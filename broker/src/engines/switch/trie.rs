//! [`Trie`]: a map from byte strings that finds all keys that are prefixes of a text.
//!
//! Stretches without a branch are one node, nodes are indices into one vector, and nothing
//! recurses, because peers choose the keys.

/// A compressed prefix tree.
#[derive(Debug)]
pub(super) struct Trie<V> {
    /// The first node is the root; its label is empty.
    nodes: Vec<Node<V>>,
    /// Free nodes.
    free: Vec<usize>,
    len: usize,
}

#[derive(Debug)]
struct Node<V> {
    /// The bytes between the parent and this node.
    label: Box<[u8]>,
    value: Option<V>,
    /// In ascending order of the first bytes of their labels.
    children: Vec<(u8, usize)>,
}

impl<V> Node<V> {
    fn new(label: &[u8], value: Option<V>) -> Self {
        Node { label: label.into(), value, children: Vec::new() }
    }

    fn child(&self, byte: u8) -> Option<usize> {
        let at = self.children.binary_search_by_key(&byte, |child| child.0).ok()?;
        Some(self.children[at].1)
    }

    fn set_child(&mut self, byte: u8, node: usize) {
        match self.children.binary_search_by_key(&byte, |child| child.0) {
            Ok(at) => self.children[at].1 = node,
            Err(at) => self.children.insert(at, (byte, node)),
        }
    }
}

const ROOT: usize = 0;

impl<V> Trie<V> {
    pub(super) fn new() -> Self {
        Trie { nodes: vec![Node::new(b"", None)], free: Vec::new(), len: 0 }
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let path = self.path(key)?;
        self.nodes[path.node].value.as_mut()
    }

    /// The value of a key, inserted if missing.
    pub(super) fn get_or_insert_with(&mut self, key: &[u8], make: impl FnOnce() -> V) -> &mut V {
        let node = self.node_of(key);
        if self.nodes[node].value.is_none() {
            self.len += 1;
        }
        self.nodes[node].value.get_or_insert_with(make)
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let Path { node, parent } = self.path(key)?;
        let value = self.nodes[node].value.take()?;
        self.len -= 1;
        if self.len == 0 {
            // An empty trie releases its memory.
            *self = Trie::new();
            return Some(value);
        }
        if node == ROOT {
            return Some(value);
        }
        if self.nodes[node].children.is_empty() {
            let byte = self.nodes[node].label[0];
            self.nodes[parent].children.retain(|child| child.0 != byte);
            self.release(node);
            self.join_with_child(parent);
        } else {
            self.join_with_child(node);
        }
        Some(value)
    }

    /// The values of all keys that `text` starts with, shortest first.
    pub(super) fn prefixes_of<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a V> {
        let mut next = Some((ROOT, text));
        let nodes = std::iter::from_fn(move || {
            let (node, rest) = next?;
            next = rest.first().and_then(|byte| self.nodes[node].child(*byte)).and_then(|child| {
                rest.strip_prefix(&*self.nodes[child].label).map(|rest| (child, rest))
            });
            Some(node)
        });
        nodes.filter_map(|node| self.nodes[node].value.as_ref())
    }

    /// All values in ascending order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        let mut stack = vec![ROOT];
        let nodes = std::iter::from_fn(move || {
            let node = &self.nodes[stack.pop()?];
            stack.extend(node.children.iter().rev().map(|child| child.1));
            Some(node)
        });
        nodes.filter_map(|node| node.value.as_ref())
    }

    fn path(&self, key: &[u8]) -> Option<Path> {
        let mut path = Path { node: ROOT, parent: ROOT };
        let mut rest = key;
        while let Some(byte) = rest.first() {
            let child = self.nodes[path.node].child(*byte)?;
            rest = rest.strip_prefix(&*self.nodes[child].label)?;
            path = Path { node: child, parent: path.node };
        }
        Some(path)
    }

    /// The node of a key, inserted if missing.
    fn node_of(&mut self, key: &[u8]) -> usize {
        let (mut node, mut rest) = (ROOT, key);
        while let Some(byte) = rest.first() {
            let Some(child) = self.nodes[node].child(*byte) else {
                let leaf = self.allocate(Node::new(rest, None));
                self.nodes[node].set_child(*byte, leaf);
                return leaf;
            };
            let label = &self.nodes[child].label;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            rest = &rest[common..];
            node = if common == label.len() { child } else { self.split(node, child, common) };
        }
        node
    }

    /// Splits a node after `at` bytes of its label.
    fn split(&mut self, parent: usize, child: usize, at: usize) -> usize {
        let label = std::mem::take(&mut self.nodes[child].label);
        let (head, tail) = label.split_at(at);
        let mut between = Node::new(head, None);
        between.set_child(tail[0], child);
        self.nodes[child].label = tail.into();
        let between = self.allocate(between);
        self.nodes[parent].set_child(head[0], between);
        between
    }

    /// Merges a node without a value with its only child.
    fn join_with_child(&mut self, node: usize) {
        let [(_, child)] = self.nodes[node].children[..] else { return };
        if node == ROOT || self.nodes[node].value.is_some() {
            return;
        }
        let child = self.release(child);
        let label = [&*self.nodes[node].label, &*child.label].concat().into();
        self.nodes[node] = Node { label, ..child };
    }

    fn allocate(&mut self, node: Node<V>) -> usize {
        if let Some(free) = self.free.pop() {
            self.nodes[free] = node;
            return free;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn release(&mut self, node: usize) -> Node<V> {
        self.free.push(node);
        std::mem::replace(&mut self.nodes[node], Node::new(b"", None))
    }
}

/// The position of a key.
struct Path {
    node: usize,
    /// The root's parent is the root.
    parent: usize,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_any_depth_are_taken_out_again() {
        let mut trie = Trie::new();
        // Every node of a long chain, each with all possible siblings.
        let keys: Vec<Vec<u8>> = (0..300)
            .flat_map(|depth| (0..=255).map(move |byte| [vec![b'z'; depth], vec![byte]].concat()))
            .collect();
        for key in &keys {
            trie.get_or_insert_with(key, || key.len());
        }
        assert_eq!(trie.prefixes_of(&[b'z'; 500]).count(), 300);
        let distinct = trie.len();
        let removed = keys.iter().filter(|key| trie.remove(key).is_some()).count();
        assert_eq!((removed, trie.len()), (distinct, 0));
        assert_eq!(trie.nodes.len(), 1, "and nothing is left");
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_map(
            steps in vec((any::<bool>(), vec(0u8..3, 0..6)), 0..60),
            texts in vec(vec(0u8..3, 0..8), 1..10),
        ) {
            let (mut trie, mut map) = (Trie::new(), BTreeMap::new());
            for (number, (insert, key)) in steps.into_iter().enumerate() {
                if insert {
                    let value = map.entry(key.clone()).or_insert(number);
                    prop_assert_eq!(trie.get_or_insert_with(&key, || number), value);
                } else {
                    prop_assert_eq!(trie.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(trie.get_mut(&key).copied(), map.get(&key).copied());
                prop_assert_eq!(trie.len(), map.len());
                prop_assert!(trie.values().eq(map.values()));
                // No superfluous nodes.
                prop_assert!(trie.nodes.len() - trie.free.len() <= 2 * map.len() + 1);
            }
            for text in texts {
                let expected = map.iter().filter(|(key, _)| text.starts_with(key));
                prop_assert!(trie.prefixes_of(&text).eq(expected.map(|(_, value)| value)));
            }
        }
    }
}
