//! Archives of plugins: whatever the bytes are, each plugin gets one regular file of the archive,
//! the same one that another reader finds under that path, or there is an error.
#![no_main]

use std::io::{Cursor, Read};

use cnister::bundle::{Compression, MemberError, Members, read_members};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

/// More than any seed; what is longer is cut.
const LONGEST: u64 = 1 << 22;

#[derive(Debug)]
enum Stop {
    Member(MemberError),
    Content,
}

impl From<MemberError> for Stop {
    fn from(error: MemberError) -> Self {
        Self::Member(error)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let plugin = |name: &str| name.parse().expect("a plugin's name");
    let members = Members::new([
        (plugin("bridge"), None),
        (plugin("flannel"), Some("./flannel-amd64".to_owned())),
    ]);
    let mut found = [None, None];
    let result = read_members(bytes, members, |numbers, found_member| {
        let mut bytes = Vec::new();
        let content = found_member.content;
        content.take(LONGEST).read_to_end(&mut bytes).map_err(|_| Stop::Content)?;
        for number in numbers {
            assert!(found[*number].replace(bytes.clone()).is_none());
        }
        Ok(())
    });
    match result {
        Err(Stop::Member(error)) => check_words(&error),
        Err(Stop::Content) => {}
        Ok(all) => {
            let mut plain = Vec::new();
            let decoder = Compression::of_magic(bytes).decoder_up_to(27, bytes);
            decoder.expect("was read before").read_to_end(&mut plain).expect("was read before");
            for (path, content) in all.paths.iter().zip(found) {
                assert!(second_reader(&plain, path) == content, "{path}");
            }
        }
    }
});

/// The content of the only file that another reader finds under a path.
fn second_reader(plain: &[u8], path: &str) -> Option<Vec<u8>> {
    let mut found = None;
    for entry in tar::Archive::new(Cursor::new(plain)).entries().expect("was read before") {
        let mut entry = entry.expect("was read before");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name.trim_start_matches("./") != path || !entry.header().entry_type().is_file() {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("was read before");
        assert!(found.replace(content).is_none(), "twice");
    }
    found
}
