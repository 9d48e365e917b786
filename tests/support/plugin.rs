//! Handmade programs of a few hundred bytes for linux/amd64: plugins that answer VERSION, and a
//! program that creates a file when it is executed.

#[path = "../../src/binary/sample.rs"]
mod sample;

use std::path::Path;

use sample::{Sample, go_build_info};

/// The answer of the plugins.
const ANSWER: &[u8] = br#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#;
/// `exit(0)`: `mov eax, 60; xor edi, edi; syscall`.
const EXIT: &[u8] = b"\xb8\x3c\0\0\0\x31\xff\x0f\x05";
const SYSTEM_CALL: &[u8] = b"\x0f\x05";

/// Creates a plugin that answers VERSION. Plugins of different `text` differ, and each is at least
/// `size` bytes long.
pub fn answering(text: &str, size: usize) -> Vec<u8> {
    saying(ANSWER, text, size)
}

/// Creates a plugin that answers VERSION with a version that no other plugin supports.
pub fn claiming(version: &str, size: usize) -> Vec<u8> {
    saying(
        format!(r#"{{"cniVersion":"1.0.0","supportedVersions":["{version}"]}}"#).as_bytes(),
        "",
        size,
    )
}

/// Creates a program that links these modules, as what Go's linker recorded says.
pub fn linking(name: &str, modules: &[String]) -> Vec<u8> {
    let module = "github.com/containernetworking/plugins";
    let sum = format!("h1:{}=", "8".repeat(43));
    let mut lines = format!("path\t{module}/plugins/main/{name}\nmod\t{module}\tv1.9.1\t{sum}\n");
    for path in modules {
        lines += &format!("dep\t{path}\tv1.2.3\t{sum}\n");
    }
    for setting in ["-buildmode=exe", "-trimpath=true", "CGO_ENABLED=0", "GOOS=linux"] {
        lines += &format!("build\t{setting}\n");
    }
    lines += &format!("build\tvcs.revision={}\n", "0".repeat(40));
    let go = Some(go_build_info("go1.26.8", &lines));
    Sample { go, code: name.as_bytes().to_vec(), ..Sample::default() }.bytes()
}

fn saying(answer: &[u8], text: &str, size: usize) -> Vec<u8> {
    // write(1, answer, its length): `mov eax, 1; mov edi, 1; lea rsi, [rip + …]; mov edx, …;
    // syscall`.
    let length = u32::try_from(answer.len()).expect("a short answer").to_le_bytes();
    let after = [b"\xba", &length[..], SYSTEM_CALL, EXIT].concat();
    let code =
        [b"\xb8\x01\0\0\0\xbf\x01\0\0\0\x48\x8d\x35", &distance(&after)[..], &after].concat();
    program(&code, answer, text, size)
}

/// Creates a static program for this `e_machine` that says of itself what Go's linker records.
pub fn by_go(machine: u16, release: &str, lines: &str) -> Vec<u8> {
    let go = Some(go_build_info(release, lines));
    Sample { machine, go, ..Sample::default() }.bytes()
}

/// Creates a program of at least `size` bytes that creates an empty file at `path`.
pub fn leaving(path: &Path, size: usize) -> Vec<u8> {
    // open(path, O_WRONLY | O_CREAT, 0644): `mov eax, 2; lea rdi, [rip + …]; mov esi, 0x41; mov
    // edx, 0644; syscall`.
    let after = [b"\xbe\x41\0\0\0\xba\xa4\x01\0\0", SYSTEM_CALL, EXIT].concat();
    let code = [b"\xb8\x02\0\0\0\x48\x8d\x3d", &distance(&after)[..], &after].concat();
    let path = [path.to_str().expect("a plain path").as_bytes(), b"\0"].concat();
    program(&code, &path, "", size)
}

/// The data follows the code, so the distance from an instruction to its data is the rest of the
/// code.
fn distance(after: &[u8]) -> [u8; 4] {
    i32::try_from(after.len()).expect("short code").to_le_bytes()
}

/// Creates a static program of at least `size` bytes: the data follows the code.
fn program(code: &[u8], data: &[u8], text: &str, size: usize) -> Vec<u8> {
    let code = [code, data, text.as_bytes()].concat();
    let mut file = Sample { code, ..Sample::default() }.bytes();
    // Not zeros, so that a truncated or sparse file differs as well.
    file.resize(file.len().max(size), b'.');
    file
}
