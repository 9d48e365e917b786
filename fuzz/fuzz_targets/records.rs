//! The smaller records of a node survive being written: a refusal, the releases that were
//! rolled back, and the floors.
#![no_main]

use cnister::node::{Floors, Refusal, RolledBack};
use cnister_fuzz::written_and_read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = written_and_read(bytes, Refusal::parse);
    let _ = written_and_read(bytes, RolledBack::parse);
    let _ = written_and_read(bytes, Floors::parse);
});
