//! Lists as events of limited size. Pure.

use super::limits::{EVENT_BYTES, MAX_PER_EVENT};

/// Cuts a list into parts of limited number and size.
pub(super) fn parts<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut bytes) = (Vec::<Vec<T>>::new(), 0);
    for item in items {
        match parts.last_mut() {
            Some(part) if part.len() < MAX_PER_EVENT && bytes < EVENT_BYTES => {
                bytes += size(&item);
                part.push(item);
            }
            _ => {
                bytes = size(&item);
                parts.push(vec![item]);
            }
        }
    }
    parts
}
