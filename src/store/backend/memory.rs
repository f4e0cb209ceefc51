//! [`Memory`]: keeps nothing.

use super::{Backend, Record};
use crate::store::StoreError;

/// The backend of stores that end with their master.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn load(&mut self, _: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&mut self, _: Vec<Record>) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_volatile(&self) -> bool {
        true
    }
}
