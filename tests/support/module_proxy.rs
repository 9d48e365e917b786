//! A module proxy as a directory (Go Modules Reference, "GOPROXY protocol"), with modules that a
//! test writes.

use std::fs;
use std::path::Path;

use flate2::Crc;

/// Publishes a version of a module: `files` by their path in it, go.mod among them.
pub fn publish(proxy: &Path, module: &str, version: &str, files: &[(&str, &str)]) {
    let folder = proxy.join(module).join("@v");
    fs::create_dir_all(&folder).expect("a folder");
    let write = |ending: &str, content: &[u8]| {
        fs::write(folder.join(format!("{version}.{ending}")), content).expect("a file");
    };
    let (_, go_mod) = files.iter().find(|(path, _)| *path == "go.mod").expect("a go.mod");
    write("mod", go_mod.as_bytes());
    write("info", format!("{{\"Version\":\"{version}\"}}").as_bytes());
    let named: Vec<_> = files
        .iter()
        .map(|(path, content)| (format!("{module}@{version}/{path}"), content.as_bytes()))
        .collect();
    write("zip", &zip(&named));
}

/// A zip archive of files that are stored as they are (APPNOTE.TXT 4.3).
fn zip(files: &[(String, &[u8])]) -> Vec<u8> {
    let mut archive: Vec<u8> = Vec::new();
    let mut directory: Vec<u8> = Vec::new();
    for (name, content) in files {
        let mut crc = Crc::new();
        crc.update(content);
        let size = u32::try_from(content.len()).expect("a small file").to_le_bytes();
        let length = u16::try_from(name.len()).expect("a short name").to_le_bytes();
        let offset = u32::try_from(archive.len()).expect("a small archive").to_le_bytes();
        // Version 2.0, no flags, stored, 1 January 1980.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend(size.into_iter().chain(size).chain(length).chain([0, 0]));
        archive.extend(b"PK\x03\x04".iter().chain(&common).chain(name.as_bytes()).chain(*content));
        directory.extend(b"PK\x01\x02\x14\0".iter().chain(&common));
        // No comment, disk 0, no attributes.
        directory.extend([0; 10].iter().chain(&offset).chain(name.as_bytes()));
    }
    let count = u16::try_from(files.len()).expect("few files").to_le_bytes();
    let sizes = [directory.len(), archive.len()];
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0".iter().chain(&count).chain(&count));
    for size in sizes {
        archive.extend(u32::try_from(size).expect("a small archive").to_le_bytes());
    }
    archive.extend([0, 0]);
    archive
}
