//! Asks the linker for packed relocations (RELR): two megabytes less in the file, and fewer to apply at start.
//!
//! The loader must know them: glibc does since 2.36. So only where the program is built for the machine it is built
//! on, and that machine's glibc is new enough.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let optimised = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if optimised && env::var("HOST") == env::var("TARGET") && loader_knows_packed_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

fn loader_knows_packed_relocations() -> bool {
    glibc_version().is_some_and(|version| version >= (2, 36))
}

/// The version of this machine's glibc, as `getconf` prints it: `glibc 2.36`.
fn glibc_version() -> Option<(u32, u32)> {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
