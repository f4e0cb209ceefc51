//! libzmq's error numbers: those of the system, and its own above `ZMQ_HAUSNUMERO`.

use crate::ffi;

macro_rules! system {
    ($($name:ident)*) => { $(pub const $name: i32 = libc::$name;)* };
}
system! {
    EACCES EADDRINUSE EADDRNOTAVAIL EAGAIN EBUSY ECONNREFUSED EFAULT EHOSTUNREACH EINPROGRESS EINTR
    EINVAL EMFILE EMSGSIZE ENAMETOOLONG ENETDOWN ENOBUFS ENODEV ENOENT ENOMEM ENOTCONN ENOTSOCK
    ENOTSUP EPROTO EPROTONOSUPPORT
}

macro_rules! own {
    ($($name:ident = $offset:literal)*) => {
        $(pub const $name: i32 = ffi::ZMQ_HAUSNUMERO as i32 + $offset;)*
    };
}
// Returned by libzmq if the system does not define the error number of that name.
own! {
    ENOTSUP_ALT = 1
    EPROTONOSUPPORT_ALT = 2
    ENOBUFS_ALT = 3
    ENETDOWN_ALT = 4
    EADDRINUSE_ALT = 5
    EADDRNOTAVAIL_ALT = 6
    ECONNREFUSED_ALT = 7
    EINPROGRESS_ALT = 8
    ENOTSOCK_ALT = 9
    EMSGSIZE_ALT = 10
    EAFNOSUPPORT_ALT = 11
    ENETUNREACH_ALT = 12
    ECONNABORTED_ALT = 13
    ECONNRESET_ALT = 14
    ENOTCONN_ALT = 15
    ETIMEDOUT_ALT = 16
    EHOSTUNREACH_ALT = 17
    ENETRESET_ALT = 18
    EFSM = 51
    ENOCOMPATPROTO = 52
    ETERM = 53
    EMTHREAD = 54
}
