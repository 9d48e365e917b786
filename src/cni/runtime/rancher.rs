//! The configuration of k3s and RKE2 (`/etc/rancher/NAME/config.yaml`). Only the directory of their
//! data is understood, in which they write containerd's configuration.

/// Returns what a file says about `data-dir`: a top-level key with its value on the same line, as
/// their documentation writes it. Of several the last one counts.
pub fn data_dir(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()?.lines().filter_map(value).next_back()
}

fn value(line: &str) -> Option<&str> {
    const KEYS: [&str; 3] = ["data-dir", "\"data-dir\"", "'data-dir'"];
    let rest = KEYS.iter().find_map(|key| line.strip_prefix(key))?;
    let value = rest.trim_start().strip_prefix(':')?.strip_prefix([' ', '\t'])?.trim();
    let value = match value.strip_prefix(['"', '\'']) {
        Some(quoted) => quoted.split(['"', '\'']).next()?,
        None => value.split(" #").next()?.trim_end(),
    };
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_directory_and_nothing_else() {
        for (text, expected) in [
            ("data-dir: /data/k3s\n", Some("/data/k3s")),
            ("token: x\r\ndata-dir: \"/data/k3s\" # moved\r\n", Some("/data/k3s")),
            ("'data-dir' : '/data'", Some("/data")),
            ("data-dir: /a\ndata-dir: /b # last", Some("/b")),
            ("data-dir: /a#b", Some("/a#b")),
            ("# data-dir: /a", None),
            ("node:\n  data-dir: /a", None),
            ("data-dir:/a", None),
            ("data-dir:", None),
            ("data-dirs: /a", None),
            ("", None),
        ] {
            assert_eq!(data_dir(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(data_dir(b"\xff"), None);
    }
}
