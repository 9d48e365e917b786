//! A recorded run as data: the calls in a trace by strace with descriptors' paths and hexadecimal
//! strings.

use std::collections::BTreeMap;

/// A call that returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Vec<Argument>,
    /// The return value; `None` if the call failed.
    pub(super) result: Option<i64>,
    /// Whether strace answered in place of the kernel, so that nothing was done.
    pub(super) lied: bool,
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    /// Bytes.
    Text(Vec<u8>),
    /// A descriptor, and the path of its open file.
    Descriptor(i64, String),
    /// A number, flags, or anything else.
    Word(String),
}

impl Call {
    /// Returns the bytes of an argument.
    pub(super) fn text(&self, at: usize) -> &[u8] {
        match &self.arguments[at] {
            Argument::Text(bytes) => bytes,
            other => panic!("{other:?} is not a string: {self:?}"),
        }
    }

    /// Returns the descriptor and the path of an argument.
    pub(super) fn descriptor(&self, at: usize) -> (i64, &str) {
        match &self.arguments[at] {
            Argument::Descriptor(number, path) => (*number, path),
            other => panic!("{other:?} is not a descriptor: {self:?}"),
        }
    }

    /// Returns an argument of another kind.
    pub(super) fn word(&self, at: usize) -> &str {
        match self.arguments.get(at) {
            Some(Argument::Word(word)) => word,
            Some(other) => panic!("{other:?} is not a flag or number: {self:?}"),
            None => "",
        }
    }

    /// Parses a number as strace writes it: octal with a leading zero.
    pub(super) fn number(&self, at: usize) -> usize {
        let word = self.word(at);
        let octal = word.len() > 1 && word.starts_with('0');
        usize::from_str_radix(word, if octal { 8 } else { 10 })
            .unwrap_or_else(|error| panic!("{word}: {error}: {self:?}"))
    }

    /// Returns the path that a directory argument and the following name lead to.
    pub(super) fn path(&self, at: usize) -> String {
        let name = String::from_utf8(self.text(at + 1).to_vec()).unwrap();
        if name.starts_with('/') { name } else { format!("{}/{name}", self.descriptor(at).1) }
    }
}

/// Returns the calls in the order in which they returned.
pub(super) fn parse(trace: &str) -> Vec<Call> {
    let mut unfinished = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some((begun, _)) = text.split_once(" <unfinished ...>") {
            unfinished.insert(thread, begun.to_owned());
        } else if let Some((_, rest)) =
            text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>"))
        {
            calls.extend(call(&(unfinished.remove(thread).expect("it began") + rest)));
        } else {
            calls.extend(call(text));
        }
    }
    calls
}

/// Parses one call; `None` for a signal or an exit, and for the call in which the run was killed.
fn call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let number: String = result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    let result_number: i64 = number.parse().ok()?;
    Some(Call {
        name: name.to_owned(),
        // No string or path contains a comma: all of them are in hexadecimal.
        arguments: arguments.split(", ").map(argument).collect(),
        result: (result_number >= 0).then_some(result_number),
        lied: result.ends_with("(INJECTED)"),
    })
}

fn argument(text: &str) -> Argument {
    if let Some(quoted) = text.strip_prefix('"') {
        let digits = quoted.strip_suffix('"').unwrap_or_else(|| panic!("cut short: {text}"));
        return Argument::Text(bytes(digits));
    }
    match text.split_once('<') {
        Some((number, path)) if number == "AT_FDCWD" || number.parse::<u32>().is_ok() => {
            let path = path.trim_end_matches("(deleted)").trim_end_matches('>');
            let path = if path.contains("\\x") {
                String::from_utf8(bytes(path)).unwrap()
            } else {
                path.to_owned()
            };
            Argument::Descriptor(number.parse().unwrap_or(-100), path)
        }
        _ => Argument::Word(text.to_owned()),
    }
}

/// Decodes `\x2f\x64`.
fn bytes(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

#[test]
fn reads_what_strace_writes() {
    let trace = "\
7 openat(AT_FDCWD<\\x2f\\x61>, \"\\x62\", O_RDWR|O_CREAT, 0600) = 3<\\x2f\\x61\\x2f\\x62>
7 write(3<\\x2f\\x61\\x2f\\x62>, \"\\x2c\\x20\" <unfinished ...>
8 fsync(4<\\x2f\\x61>)                 = 0 (INJECTED)
7 <... write resumed>, 2)         = 2
7 --- SIGCHLD {si_signo=SIGCHLD} ---
7 renameat(5<\\x2f>, \"\\x61\", 5<\\x2f>, \"\\x62\") = -1 ENOSPC (No space left on device)
7 fsync(4<\\x2f\\x61> <unfinished ...>) = ?
7 +++ killed by SIGKILL +++
";
    let word = |text: &str| Argument::Word(text.to_owned());
    let descriptor = |number, path: &str| Argument::Descriptor(number, path.to_owned());
    let text = |text: &str| Argument::Text(text.as_bytes().to_vec());
    let call = |name: &str, arguments: &[Argument], result, lied| Call {
        name: name.to_owned(),
        arguments: arguments.to_vec(),
        result,
        lied,
    };
    let create = [descriptor(-100, "/a"), text("b"), word("O_RDWR|O_CREAT"), word("0600")];
    let rename = [descriptor(5, "/"), text("a"), descriptor(5, "/"), text("b")];
    let expected = [
        call("openat", &create, Some(3), false),
        call("fsync", &[descriptor(4, "/a")], Some(0), true),
        call("write", &[descriptor(3, "/a/b"), text(", "), word("2")], Some(2), false),
        call("renameat", &rename, None, false),
    ];
    assert_eq!(parse(trace), expected);
    assert_eq!((expected[0].path(0).as_str(), expected[0].number(3)), ("/a/b", 0o600));
}
