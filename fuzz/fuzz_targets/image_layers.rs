//! Layers of an image: whatever the bytes are, a plugin that is found is one regular file of one
//! layer, under a path inside the image that leads to itself, with the content that another reader
//! finds at the same place of the layer.
#![no_main]

use std::io::{Cursor, Read};

use cnister::bundle::Compression;
use cnister::bundle::rootfs::{FileSearch, Found, LayerError, Rootfs, list_layer, take_files};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

/// More than any seed; what is longer is cut.
const LONGEST: u64 = 1 << 22;

#[derive(Debug)]
enum Stop {
    Layer(LayerError),
    Content,
}

impl From<LayerError> for Stop {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let layers = split(bytes);
    let (mut rootfs, mut read) = (Rootfs::default(), 0);
    for layer in &layers {
        if let Err(error) = list_layer(*layer, &mut rootfs, &mut read) {
            return check_words(&error);
        }
    }
    for (name, path) in [
        ("whereabouts", None),
        ("sriov", None),
        ("whereabouts", Some("/hard")),
        ("whereabouts", Some("/usr/bin/../bin/whereabouts")),
    ] {
        let name = name.parse().expect("a plugin's name");
        let search = FileSearch { name, path: path.map(str::to_owned) };
        let (path, file) = match search.find(&rootfs) {
            Err(error) => {
                check_words(&error);
                continue;
            }
            Ok(found) => found,
        };
        let parts: Vec<&str> = path.split('/').collect();
        assert!(parts[0].is_empty() && parts.len() > 1, "{path}");
        assert!(!parts[1..].iter().any(|part| matches!(*part, "" | "." | "..")), "{path}");
        assert_eq!(rootfs.find(&path), Ok(Found::File(path.clone(), file)));
        let layer = layers[file.layer];
        let mut content = None;
        let taken = take_files(layer, [(file.member, ())].into(), |(), found| {
            let mut bytes = Vec::new();
            found.content.take(LONGEST).read_to_end(&mut bytes).map_err(|_| Stop::Content)?;
            assert!(content.replace(bytes).is_none());
            Ok(())
        });
        match taken {
            Err(Stop::Layer(error)) => panic!("it was listed before: {error}"),
            Err(Stop::Content) => {}
            Ok(()) => {
                let content = content.expect("it was listed before");
                assert_eq!(content.len() as u64, file.size.min(LONGEST));
                assert!(second_reader(layer, file.member) == content, "{path}");
            }
        }
    }
});

/// At most eight layers, each after its length in four bytes.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut layers = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (layer, rest) = rest.split_at(length);
        layers.push(layer);
        bytes = rest;
        if layers.len() == 8 {
            break;
        }
    }
    layers
}

/// The content of the member of this number, as another reader finds it.
fn second_reader(layer: &[u8], number: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    let decoder = Compression::of_magic(layer).decoder_up_to(27, layer);
    decoder.expect("was read before").read_to_end(&mut plain).expect("was read before");
    let mut archive = tar::Archive::new(Cursor::new(plain));
    let entries = archive.entries().expect("was read before");
    let mut members = entries
        .map(|entry| entry.expect("was read before"))
        .filter(|entry| !entry.header().entry_type().is_pax_global_extensions());
    let mut content = Vec::new();
    let mut member = members.nth(number).expect("was listed before");
    member.read_to_end(&mut content).expect("was read before");
    content
}
