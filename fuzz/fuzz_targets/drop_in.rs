//! Drop-ins of systemd: a setting that decides is found wherever it is, and what a line before it
//! continues is not one.
#![no_main]

use cnister::disk::deciding;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let found = deciding(&text);
    if let Some(setting) = found {
        assert!(text.contains(setting));
        assert!(!setting.contains(['=', '\n']) && setting.trim() == setting);
    }
    // An empty line ends what a last backslash continues.
    let longer = format!("{text}\n\nExecStart=/bin/true\n");
    assert_eq!(deciding(&longer), Some(found.unwrap_or("ExecStart")));
    let shorter = format!("[Unit]\n# ExecStart=\\\n{text}");
    assert_eq!(deciding(&shorter), found);
});
