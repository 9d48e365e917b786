//! Access control lists: who may write is found by rights, and a list that cannot be parsed is
//! taken as one that gives them.
#![no_main]

use cnister::disk::gives_write;
use libfuzzer_sys::fuzz_target;

/// The first four bytes of a list, which are its version.
const VERSION: usize = 4;
/// An entry: tag, rights and number.
const ENTRY: usize = 8;
const WRITE: u8 = 2;
const MASK: [u8; 2] = [0x10, 0];

fuzz_target!(|bytes: &[u8]| {
    let gives = gives_write(bytes);
    let is_list = bytes.starts_with(&[2, 0, 0, 0]) && bytes.len() % ENTRY == VERSION;
    if !is_list {
        assert!(gives);
        return;
    }
    let with = |change: fn(&mut [u8])| {
        let mut changed = bytes.to_vec();
        changed[VERSION..].chunks_exact_mut(ENTRY).for_each(change);
        gives_write(&changed)
    };
    assert!(!with(|entry| entry[2] &= !WRITE), "nobody may write");
    // A mask that leaves everything takes nothing away.
    let unmasked = with(|entry| {
        if entry[..2] == MASK {
            entry[2] |= WRITE;
        }
    });
    assert!(unmasked || !gives);
    // The order of entries does not matter.
    let mut turned = bytes[..VERSION].to_vec();
    turned.extend(bytes[VERSION..].chunks_exact(ENTRY).rev().flatten());
    assert_eq!(gives_write(&turned), gives);
});
