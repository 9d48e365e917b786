//! Layers that meet in every way, as umoci unpacks them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cnister::bundle::rootfs::{Found, LayerError, LayerFile, Rootfs, list_layer, take_files};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tar::EntryType;

use crate::support::upstream::Upstream;
use crate::support::{Scene, peer};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn path(&mut self) -> String {
        let parts: Vec<&str> = (0..=self.below(3)).map(|_| NAMES[self.below(4)]).collect();
        parts.join("/")
    }

    /// Path, type and content or target of an entry; `files` are there already.
    fn entry(&mut self, files: &[String]) -> (String, EntryType, String) {
        let path = self.path();
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
        match self.below(10) {
            0..4 => (path, EntryType::Regular, format!("{}", self.0)),
            4 => (path, EntryType::Directory, String::new()),
            5 => {
                let up = ["", "/", "../", "../../../"][self.below(4)];
                (path, EntryType::Symlink, format!("{up}{}", self.path()))
            }
            6 if !files.is_empty() => {
                (path, EntryType::Link, files[self.below(files.len())].clone())
            }
            7 => (format!("{path}/.wh..wh..opq"), EntryType::Regular, String::new()),
            _ => (format!("{folder}/.wh.{name}"), EntryType::Regular, String::new()),
        }
    }

    /// Layers of a few names, so that entries meet.
    fn layers(&mut self) -> Vec<Vec<u8>> {
        let mut files: Vec<String> = Vec::new();
        let layers = (0..=self.below(3)).map(|_| {
            let mut seen = BTreeSet::new();
            let mut builder = tar::Builder::new(Vec::new());
            for _ in 0..=self.below(7) {
                let (path, kind, content) = self.entry(&files);
                if !seen.insert(path.clone()) {
                    continue;
                }
                let mut header = tar::Header::new_ustar();
                header.set_entry_type(kind);
                header.set_mode(0o755);
                header.set_size(0);
                match kind {
                    EntryType::Regular => {
                        header.set_size(content.len() as u64);
                        builder.append_data(&mut header, &path, content.as_bytes()).unwrap();
                        files.push(path);
                    }
                    EntryType::Directory => {
                        builder.append_data(&mut header, &path, &[][..]).unwrap();
                    }
                    _ => builder.append_link(&mut header, &path, content).unwrap(),
                }
            }
            builder.into_inner().unwrap()
        });
        layers.collect()
    }
}

/// What each path is in an image, by its layers; `None` if they are refused.
fn found(layers: &[Vec<u8>], paths: &[String]) -> Option<Vec<String>> {
    let (mut rootfs, mut read) = (Rootfs::default(), 0);
    for layer in layers {
        list_layer(layer.as_slice(), &mut rootfs, &mut read).ok()?;
    }
    let content = |file: LayerFile| {
        let mut content = String::new();
        let layer = layers[file.layer].as_slice();
        let read = take_files(layer, [(file.member, ())].into(), |(), input| {
            input.content.read_to_string(&mut content).unwrap();
            Ok::<_, LayerError>(())
        });
        read.unwrap();
        content
    };
    let words = paths.iter().map(|path| match rootfs.find(path) {
        Ok(Found::File(_, file)) => format!("{path}: {}", content(file)),
        Ok(Found::NotAFile(kind)) => format!("{path}: {kind}"),
        Ok(Found::Nothing | Found::Dangling(_)) => format!("{path}: nothing"),
        Err(_) => format!("{path}: loop"),
    });
    Some(words.collect())
}

/// What a path is in an unpacked image, as a process sees it whose root that is.
fn seen(root: &Path, path: &str) -> String {
    let root = rustix::fs::open(root, OFlags::PATH, Mode::empty()).unwrap();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    match opened.map(fs::File::from) {
        Ok(file) if file.metadata().unwrap().is_dir() => format!("{path}: a directory"),
        Ok(file) => format!("{path}: {}", std::io::read_to_string(file).unwrap()),
        Err(Errno::LOOP) => format!("{path}: loop"),
        Err(_) => format!("{path}: nothing"),
    }
}

/// Every path of up to three names.
fn paths() -> Vec<String> {
    let mut all = vec![String::new()];
    for _ in 0..3 {
        let longer =
            all.iter().flat_map(|above| NAMES.map(|name| format!("{above}/{name}"))).collect();
        all = [all, longer].concat();
    }
    let paths: BTreeSet<String> = all.into_iter().filter(|path| !path.is_empty()).collect();
    paths.into_iter().collect()
}

#[test]
fn layers_have_the_files_that_umoci_unpacks() {
    let Some(umoci) = peer("umoci") else { return };
    let scene = Scene::in_memory();
    let paths = paths();
    let mut compared = 0;
    for seed in 1..=250 {
        let layers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)).layers();
        // A file that is used as a directory: umoci makes it one, containerd refuses the image.
        let Some(ours) = found(&layers, &paths) else { continue };
        let folder = format!("{seed}");
        Upstream::new(scene.at(&folder).join("image")).image_of(&layers);
        let mut command = scene.command(&umoci);
        command.args(["unpack", "--rootless", "--image", &format!("{folder}/image:v1")]);
        let run = scene.run_command(command.arg(format!("{folder}/bundle")));
        if run.code != 0 {
            // A hard link to nothing: here, it is only refused if it is wanted.
            assert!(run.stderr.contains(": link: "), "{seed}: {}", run.stderr);
            continue;
        }
        let root = scene.at(&folder).join("bundle/rootfs");
        let theirs: Vec<String> = paths.iter().map(|path| seen(&root, path)).collect();
        assert_eq!(ours, theirs, "{seed}");
        compared += 1;
    }
    assert!(compared >= 100, "{compared}");
}
