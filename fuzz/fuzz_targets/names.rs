//! Digests, platforms, plugin names, bundle names and paths on a node: each prints what it parsed.
#![no_main]

use std::fmt::{Debug, Display};
use std::path::{Component, Path};
use std::str::FromStr;

use cnister::model::{BundleName, Digest, Platform, PluginName, visible, HostPath};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fn round<T>(text: &str) -> Option<T>
where
    T: FromStr + Display + PartialEq + Debug,
    T::Err: Display + Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let printed = value.to_string();
            assert!(!printed.contains(char::is_control), "{printed:?}");
            assert_eq!(printed.parse::<T>().expect("was accepted before"), value);
            Some(value)
        }
        Err(error) => {
            check_words(&error);
            None
        }
    }
}

fuzz_target!(|text: &str| {
    round::<Digest>(text);
    round::<BundleName>(text);
    let _: Option<Platform> = round(text);
    if let Some(name) = round::<PluginName>(text) {
        let components: Vec<_> = Path::new(name.as_str()).components().collect();
        assert!(matches!(components.as_slice(), [Component::Normal(_)]));
    }
    if let Some(path) = round::<HostPath>(text) {
        assert!(
            path.relative().components().all(|component| matches!(component, Component::Normal(_)))
        );
    }
    let shown = visible(text);
    assert!(!shown.contains(char::is_control));
    assert_eq!(visible(&shown), shown);
});
