//! Headers of programs, and the build information that they lead to.
#![no_main]

use cnister::binary::{Elf, GoBuild, Linkage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(elf) = Elf::parse(bytes) {
        if let Linkage::Dynamic { interpreter } = elf.linkage() {
            assert!(interpreter.starts_with('/') && !interpreter.contains(char::is_control));
        }
        let _ = GoBuild::of(&elf).expect("a slice can be read where its size says");
    }
});
