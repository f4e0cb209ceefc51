//! Builds libzmq 4.3.5 with CURVE from the sources in `zeromq-src`, against the libsodium that
//! `libsodium-sys-stable` has built (its `links = "sodium"` metadata say where).

use std::env;

/// Features that libzmq's configure step would find on any Linux of the last fifteen years.
/// `zeromq-src` runs no configure step; without these, libzmq would use socket pairs for signalling
/// and leave file descriptors open across `exec`.
const LINUX_DEFINES: &[&str] = &[
    "HAVE_ACCEPT4=1",
    "HAVE_CLOCK_GETTIME=1",
    "HAVE_FORK=1",
    "ZMQ_HAVE_EVENTFD=1",
    "ZMQ_HAVE_EVENTFD_CLOEXEC=1",
    "ZMQ_HAVE_IFADDRS=1",
    "ZMQ_HAVE_O_CLOEXEC=1",
    "ZMQ_HAVE_PPOLL=1",
    "ZMQ_HAVE_PTHREAD_SETNAME_2=1",
    "ZMQ_HAVE_SOCK_CLOEXEC=1",
    "ZMQ_HAVE_SO_BINDTODEVICE=1",
    "ZMQ_HAVE_SO_KEEPALIVE=1",
    "ZMQ_HAVE_SO_PEERCRED=1",
    "ZMQ_HAVE_TCP_KEEPCNT=1",
    "ZMQ_HAVE_TCP_KEEPIDLE=1",
    "ZMQ_HAVE_TCP_KEEPINTVL=1",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");

    let location = |what: &str| {
        env::var(format!("DEP_SODIUM_{what}")).unwrap_or_else(|_| {
            panic!("libsodium-sys-stable did not say where its {what} folder is")
        })
    };
    let sodium = zeromq_src::LibLocation::new(location("LIB"), location("INCLUDE"));

    // `-w`: warnings in vendored C++ are not ours to fix.
    let mut flags = env::var("CXXFLAGS").unwrap_or_default();
    flags.push_str(" -w");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        for define in LINUX_DEFINES {
            flags.push_str(" -D");
            flags.push_str(define);
        }
    }
    // SAFETY: runs on the build script's main thread, before any other thread exists.
    unsafe { env::set_var("CXXFLAGS", flags) };

    zeromq_src::Build::new().with_libsodium(Some(sodium)).build();
}
