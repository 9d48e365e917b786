//! Errors of container runtimes: few symptoms, whose words move no cursor, and the same in a log's
//! quotation marks.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use cnister::model::visible;
use cnister::node::Root;
use cnister::check::explain::{MOST_SYMPTOMS, Symptoms, explain};
use libfuzzer_sys::fuzz_target;

static ROOT: LazyLock<Root> =
    LazyLock::new(|| Root::open(Path::new("/")).expect("every machine has a root"));

fuzz_target!(|bytes: &[u8]| {
    let symptoms = Symptoms::read(bytes);
    assert!(symptoms.known.len() <= MOST_SYMPTOMS && symptoms.unknown.len() <= MOST_SYMPTOMS);
    // With NULs it may be UTF-16, of which other characters become something else.
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(['\\', '\0'])
    {
        assert_eq!(Symptoms::read(text.replace('"', "\\\"").as_bytes()), symptoms);
    }
    // No directory: nothing of this machine decides.
    let explanation = explain(&ROOT, &[], bytes, || None);
    for explained in &explanation.causes {
        assert!(!explained.actions.is_empty());
        let words =
            [&explained.message].into_iter().chain(&explained.actions).chain(&explained.plugin);
        for word in
            words.chain(&explained.called_by).chain(&explained.networks).chain(&explained.searched)
        {
            assert_eq!(visible(word), *word);
        }
    }
    for plugin in &explanation.unknown {
        assert_eq!(visible(plugin), *plugin);
    }
});
