//! [`LogScalar`]: Rust types that are single values of a log.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bstr::{BStr, BString};

use crate::value::{Address, Enum, Function, Port, Real, Subnet, Timespan, Timestamp};
use crate::wire::zeek_bin::{LogValue, Scalar};

/// A type whose values are single values of a log, and can be elements of sets and vectors.
///
/// Derived for enums, whose values have the names of Zeek's, and for structs around one value:
///
/// ```
/// use zcluster::LogScalar;
/// use zcluster::logging::LogValue;
///
/// #[derive(LogScalar)]
/// enum Kind {
///     #[log(name = "Scan::PORT")]
///     Port,
/// }
///
/// #[derive(LogScalar)]
/// struct UserId(u64);
///
/// assert_eq!(Kind::Port.log_value(), LogValue::Enum(b"Scan::PORT"));
/// assert_eq!(UserId(7).log_value(), LogValue::Count(7));
/// ```
///
/// ```compile_fail
/// #[derive(zcluster::LogScalar)]
/// enum Kind {
///     Port(u16), // an enum of Zeek has no data
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be logged as a single value",
    label = "neither a column nor an element of one",
    note = "records derive `zcluster::LogRecord`, enums `zcluster::LogScalar`; `zcluster::logging::LogField` \
            lists the other types"
)]
pub trait LogScalar {
    /// The type in Zeek.
    const TYPE: Scalar;

    /// The value, of that type, or [`LogValue::Unset`].
    fn log_value(&self) -> LogValue<'_>;
}

macro_rules! scalars {
    ($($type:ty: $scalar:ident, |$value:ident| $log_value:expr;)*) => {
        $(impl LogScalar for $type {
            const TYPE: Scalar = Scalar::$scalar;

            #[inline]
            fn log_value(&self) -> LogValue<'_> {
                let $value = self;
                $log_value
            }
        })*
    };
}
scalars! {
    bool: Bool, |x| LogValue::Bool(*x);
    u8: Count, |x| LogValue::Count((*x).into());
    u16: Count, |x| LogValue::Count((*x).into());
    u32: Count, |x| LogValue::Count((*x).into());
    u64: Count, |x| LogValue::Count(*x);
    usize: Count, |x| LogValue::Count(*x as u64);
    i8: Int, |x| LogValue::Int((*x).into());
    i16: Int, |x| LogValue::Int((*x).into());
    i32: Int, |x| LogValue::Int((*x).into());
    i64: Int, |x| LogValue::Int(*x);
    isize: Int, |x| LogValue::Int(*x as i64);
    f32: Double, |x| LogValue::Double((*x).into());
    f64: Double, |x| LogValue::Double(*x);
    Real: Double, |x| LogValue::Double(x.0);
    str: String, |x| LogValue::String(x.as_bytes());
    String: String, |x| LogValue::String(x.as_bytes());
    BStr: String, |x| LogValue::String(x);
    BString: String, |x| LogValue::String(x);
    Address: Addr, |x| LogValue::Addr(x.to_ip());
    IpAddr: Addr, |x| LogValue::Addr(*x);
    Ipv4Addr: Addr, |x| LogValue::Addr((*x).into());
    Ipv6Addr: Addr, |x| LogValue::Addr((*x).into());
    Subnet: Subnet, |x| LogValue::Subnet(*x);
    Port: Port, |x| LogValue::Port(*x);
    Timestamp: Time, |x| LogValue::Time(x.as_secs_f64());
    SystemTime: Time, |x| LogValue::Time(Timestamp::from(*x).as_secs_f64());
    Timespan: Interval, |x| LogValue::Interval(x.as_secs_f64());
    Duration: Interval, |x| LogValue::Interval(x.as_secs_f64());
    Enum: Enum, |x| LogValue::Enum(&x.0);
    Function: Func, |x| LogValue::Func(&x.name);
}

/// The name of a file, as type `file`. What is in it is a string, borrowed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName<T>(pub T);

impl<T: AsRef<[u8]>> LogScalar for FileName<T> {
    const TYPE: Scalar = Scalar::File;

    #[inline]
    fn log_value(&self) -> LogValue<'_> {
        LogValue::File(self.0.as_ref())
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {
        $(impl<T: LogScalar + ?Sized> LogScalar for $pointer {
            const TYPE: Scalar = T::TYPE;

            #[inline]
            fn log_value(&self) -> LogValue<'_> {
                (**self).log_value()
            }
        })*
    };
}
pointers!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl<T: LogScalar + ToOwned + ?Sized> LogScalar for Cow<'_, T> {
    const TYPE: Scalar = T::TYPE;

    #[inline]
    fn log_value(&self) -> LogValue<'_> {
        (**self).log_value()
    }
}
