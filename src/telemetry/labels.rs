//! Labels: families of metrics, and labels whose values the program itself knows.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;
use std::sync::Arc;

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Metric;

use super::Telemetry;

/// A family whose `N` label values are looked up; see [`PerLabel`] for values known beforehand.
pub(super) type LabelledFamily<M, const N: usize> = Family<[(&'static str, String); N], M>;

/// The label values that a closed set of reasons, sockets and the like stands for.
pub trait LabelValue: Copy + 'static {
    /// All values, each at its [`LabelValue::index`].
    const ALL: &'static [Self];

    /// The text of the label.
    fn as_str(self) -> &'static str;

    /// The position in [`LabelValue::ALL`].
    fn index(self) -> usize;
}

/// Defines an enum that is a [`LabelValue`].
macro_rules! label_values {
    (
        $(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $crate::telemetry::LabelValue for $name {
            const ALL: &'static [Self] = &[$($name::$variant,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(super) use label_values;

/// One metric per value of a closed set, all of them exposed from the start, so that a rate over
/// the first occurrence is right. Indexing costs no look-up: `losses[LogLoss::QueueFull].inc()`.
pub struct PerLabel<V, M> {
    metrics: Arc<[M]>,
    values: PhantomData<fn(V)>,
}

impl<V: LabelValue, M> PerLabel<V, M> {
    pub(super) fn from_fn(metric: impl Fn(V) -> M) -> Self {
        let metrics = V::ALL.iter().map(|value| metric(*value)).collect();
        PerLabel { metrics, values: PhantomData }
    }
}

impl<V, M> Clone for PerLabel<V, M> {
    fn clone(&self) -> Self {
        PerLabel { metrics: Arc::clone(&self.metrics), values: PhantomData }
    }
}

impl<V: LabelValue, M> Index<V> for PerLabel<V, M> {
    type Output = M;

    fn index(&self, value: V) -> &M {
        &self.metrics[value.index()]
    }
}

impl<V: LabelValue, M: fmt::Debug> fmt::Debug for PerLabel<V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = V::ALL.iter().map(|value| value.as_str());
        f.debug_map().entries(values.zip(self.metrics.iter())).finish()
    }
}

impl Telemetry {
    /// Adds a family with one label per value of `V`.
    pub(super) fn register_per_label<V, M>(
        &self,
        name: &str,
        help: &str,
        label: &'static str,
    ) -> PerLabel<V, M>
    where
        V: LabelValue,
        M: Metric + TypedMetric + Clone + Default,
    {
        let family: LabelledFamily<M, 1> = self.register(name, help);
        PerLabel::from_fn(|value: V| {
            family.get_or_create_owned(&[(label, value.as_str().to_owned())])
        })
    }
}

/// A valid label name from any text that is not empty.
pub(super) fn label_name(text: &str) -> String {
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}
