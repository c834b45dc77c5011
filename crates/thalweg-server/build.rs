//! Asks the linker for a smaller file.
//!
//! Packed relocations (RELR) save two megabytes and have fewer to apply at start. The loader must know them: glibc does
//! since 2.36. So only where the program is built for the machine it is built on, and that machine's glibc is new
//! enough.
//!
//! Equal code is kept once (ICF), which LLD can, the linker that rustc brings along and uses on x86-64 Linux since 1.90.
//! So not elsewhere, nor where somebody has said how to link.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let optimised = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if !optimised || env::var("HOST") != env::var("TARGET") {
        return;
    }
    if loader_knows_packed_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if linker_is_lld() {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}

fn linker_is_lld() -> bool {
    let is_usual = env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu");
    let is_told = env::var_os("RUSTC_LINKER").is_some()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    is_usual && !is_told
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
