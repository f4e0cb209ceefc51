//! Figures of several rounds, and tables.

/// The median; NaN without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// Commands as fast as they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// Commands per second.
    pub(crate) rate: f64,
    /// CPU microseconds for one, of all processes.
    pub(crate) cpu: f64,
}

pub(crate) fn medians(flows: &[Flow]) -> Flow {
    Flow {
        rate: median(flows.iter().map(|flow| flow.rate)),
        cpu: median(flows.iter().map(|flow| flow.cpu)),
    }
}

/// A number as people write it: `1,234,567`.
pub(crate) fn grouped(number: f64) -> String {
    if number.is_nan() {
        return "–".into();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with that many decimals, if there is one.
pub(crate) fn decimal(number: f64, decimals: usize) -> String {
    if number.is_nan() { "–".into() } else { format!("{number:.decimals$}") }
}
