//! The proof that Go's checksum database has the sum of a module, kept beside a lock.
//!
//! The database is a transparency log (RFC 9162, 2.1): a record is in it if hashes lead from the
//! record to the head of the tree, which the database signs. Such a proof can be verified at any
//! time without a network. It shows that all users of the log get this sum for this version, and
//! nothing about who published it. The format is that of C2SP tlog-proof, with the record as extra
//! data. The `go` command does the fetching.

use std::fmt::Write;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::ModuleSum;

/// The name of Go's checksum database, which signs it.
pub const SUM_DATABASE: &str = "sum.golang.org";
/// The key of the database, as the `go` command has it: an identifier, and an Ed25519 key behind
/// the number of its algorithm.
const KEY: (&str, &str) = ("Az3grg==", "Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8");
const HEADER: &str = "c2sp.org/tlog-proof@v1\n";
/// A tile has the hashes of 2^8 nodes of one height.
const HEIGHT: u32 = 8;

type Hash = [u8; 32];

/// A record of the database, and what proves that it is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumProof {
    /// The lines of go.sum.
    record: String,
    index: u64,
    /// From the record to the head of the tree.
    path: Vec<Hash>,
    /// The signed head of the tree.
    checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum SumProofError {
    #[error("it is not a proof of a transparency log")]
    Form,
    #[error("its tree is not signed by {SUM_DATABASE}")]
    Signature,
    #[error("its record is not in the tree")]
    NotInTree,
    #[error("its record does not say {sum} of {module}@{version}")]
    Other { module: String, version: String, sum: ModuleSum },
}

impl SumProof {
    /// The longest text of one, in bytes.
    pub const LIMIT: usize = 64 * 1024;

    /// Makes one from what the `go` command keeps: the answer of the database to a look-up, and
    /// tiles of its tree by their level and number. `None` if something is missing.
    pub fn of_lookup(answer: &str, tile: &dyn Fn(u32, u64) -> Option<Vec<u8>>) -> Option<Self> {
        let (index, rest) = answer.split_once('\n')?;
        let (record, checkpoint) = rest.split_once("\n\n")?;
        let index: u64 = index.parse().ok()?;
        let (size, _) = tree_of(checkpoint)?;
        let path = (index < size).then(|| path(index, 0, size, tile))??;
        let (record, checkpoint) = (format!("{record}\n"), checkpoint.to_owned());
        Some(Self { record, index, path, checkpoint })
    }

    /// Parses the text of one.
    ///
    /// # Errors
    /// If it is not one; whether it proves something is found by [`Self::verify`].
    pub fn parse(text: &[u8]) -> Result<Self, SumProofError> {
        let text = (text.len() <= Self::LIMIT).then(|| str::from_utf8(text).ok());
        text.flatten().and_then(Self::parse_text).ok_or(SumProofError::Form)
    }

    fn parse_text(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.strip_prefix(HEADER)?.split_once("\n\n")?;
        let mut lines = head.lines();
        let record = STANDARD.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
        let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
        let hash = |line| STANDARD.decode(line).ok()?.try_into().ok();
        let path: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
        let (record, checkpoint) = (String::from_utf8(record).ok()?, checkpoint.to_owned());
        let proof = Self { record, index, path, checkpoint };
        // One text for one proof.
        (proof.to_text() == text).then_some(proof)
    }

    /// The text that is kept.
    pub fn to_text(&self) -> String {
        let Self { record, index, path, checkpoint } = self;
        let mut text = format!("{HEADER}extra {}\nindex {index}\n", STANDARD.encode(record));
        for hash in path {
            let _ = writeln!(text, "{}", STANDARD.encode(hash));
        }
        text + "\n" + checkpoint
    }

    /// Whether the database has this sum of this version of a module:
    ///
    /// 1. The head of the tree is signed by the database.
    /// 2. The record is in the tree.
    /// 3. The record has the sum.
    ///
    /// # Errors
    /// Why it does not prove that.
    pub fn verify(&self, module: &str, version: &str, sum: ModuleSum) -> Result<(), SumProofError> {
        // 1.
        let (size, head) = signed_tree_of(&self.checkpoint).ok_or(SumProofError::Signature)?;
        // 2.
        let leaf = Sha256::new().chain_update([0]).chain_update(&self.record).finalize().into();
        if head_of(leaf, self.index, size, &self.path) != Some(head) {
            return Err(SumProofError::NotInTree);
        }
        // 3.
        let line = format!("{module} {version} {sum}");
        match self.record.lines().any(|it| it == line) {
            true => Ok(()),
            false => {
                let (module, version) = (module.to_owned(), version.to_owned());
                Err(SumProofError::Other { module, version, sum })
            }
        }
    }
}

/// The size and the head of the tree of a checkpoint (golang.org/x/mod/sumdb/tlog, `ParseTree`).
fn tree_of(checkpoint: &str) -> Option<(u64, Hash)> {
    let mut lines = checkpoint.lines();
    (lines.next()? == "go.sum database tree").then_some(())?;
    let size = lines.next()?.parse().ok()?;
    Some((size, STANDARD.decode(lines.next()?).ok()?.try_into().ok()?))
}

/// The same, if the database signed it (golang.org/x/mod/sumdb/note).
fn signed_tree_of(checkpoint: &str) -> Option<(u64, Hash)> {
    let (text, signatures) = checkpoint.rsplit_once("\n\n")?;
    let text = format!("{text}\n");
    let (identifier, key) = (STANDARD.decode(KEY.0).ok()?, STANDARD.decode(KEY.1).ok()?);
    let key = UnparsedPublicKey::new(&ED25519, key.get(1..)?);
    let is_signature = |line: &str| {
        let signature =
            line.strip_prefix("\u{2014} ")?.strip_prefix(SUM_DATABASE)?.strip_prefix(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        let signature = signature.strip_prefix(identifier.as_slice())?;
        key.verify(text.as_bytes(), signature).ok()
    };
    signatures.lines().find_map(is_signature)?;
    tree_of(&text)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The head of the tree of `size` records in which a leaf has this path (RFC 9162, 2.1.3.2).
fn head_of(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let (mut number, mut last) = (index, size.checked_sub(1).filter(|last| index <= *last)?);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if number & 1 == 1 || number == last {
            hash = node(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                (number, last) = (number >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (number, last) = (number >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// The path of a leaf in the tree of the records `from..to` (RFC 9162, 2.1.3.1).
fn path(
    index: u64,
    mut from: u64,
    mut to: u64,
    tile: &dyn Fn(u32, u64) -> Option<Vec<u8>>,
) -> Option<Vec<Hash>> {
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + half(to - from);
        let sibling = if index < middle { middle..to } else { from..middle };
        path.push(hash_of(sibling.start, sibling.end, tile)?);
        (from, to) = if index < middle { (from, middle) } else { (middle, to) };
    }
    path.reverse();
    Some(path)
}

/// The largest power of two that is less than a count, which is at least two.
fn half(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The head of the tree of the records `from..to`. It recurses at most once for each bit of `to`.
fn hash_of(from: u64, to: u64, tile: &dyn Fn(u32, u64) -> Option<Vec<u8>>) -> Option<Hash> {
    let count = to - from;
    if !count.is_power_of_two() {
        let middle = from + half(count);
        return Some(node(&hash_of(from, middle, tile)?, &hash_of(middle, to, tile)?));
    }
    // A complete subtree: its nodes of the height of a tile are next to each other in one.
    let level = count.ilog2() / HEIGHT;
    let (number, first) = (from >> (HEIGHT * level), count >> (HEIGHT * level));
    let content = tile(level, number >> HEIGHT)?;
    let start = usize::try_from(number & 0xff).ok()?;
    let end = start + usize::try_from(first).ok()?;
    let hashes = content.as_chunks::<32>().0.get(start..end)?;
    let mut hashes = hashes.to_vec();
    while hashes.len() > 1 {
        hashes = hashes.as_chunks::<2>().0.iter().map(|[left, right]| node(left, right)).collect();
    }
    hashes.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proof of a public module, as the shipped lock keeps it.
    const PROOF: &str = include_str!("sumdb/plugins.proof");
    const MODULE: (&str, &str) = ("github.com/containernetworking/plugins", "v1.9.1");
    const SUM: &str = "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=";

    fn verify(text: &str, version: &str, sum: &str) -> Result<(), SumProofError> {
        SumProof::parse(text.as_bytes())?.verify(MODULE.0, version, sum.parse().unwrap())
    }

    #[test]
    fn proves_what_the_database_says_and_nothing_else() {
        assert_eq!(verify(PROOF, MODULE.1, SUM), Ok(()));
        let other = "h1:fj7kS55qg3o/RgS+WGsF3+ZxwIImMPusQZKzBpcSr4c=";
        for (version, sum) in [(MODULE.1, other), ("v1.9.0", SUM), ("v1.9.1/go.mod", SUM)] {
            let (module, sum) = (MODULE.0.to_owned(), sum.parse().unwrap());
            let expected = SumProofError::Other { module, version: version.to_owned(), sum };
            assert_eq!(verify(PROOF, version, &sum.to_string()), Err(expected));
        }
        let lines: Vec<&str> = PROOF.lines().collect();
        let extra = lines[1].strip_prefix("extra ").unwrap();
        let record = String::from_utf8(STANDARD.decode(extra).unwrap()).unwrap();
        let forged = STANDARD.encode(record.replace(SUM, other));
        let (hash, next) = (lines[3], lines[4]);
        let size = lines.iter().position(|line| *line == "go.sum database tree").unwrap() + 1;
        let signature = lines.last().unwrap();
        for (from, to, expected) in [
            (extra, forged.as_str(), SumProofError::NotInTree),
            (hash, next, SumProofError::NotInTree),
            ("index 5", "index 6", SumProofError::NotInTree),
            (lines[size], "66385785", SumProofError::Signature),
            (lines[size + 1], hash, SumProofError::Signature),
            (signature, "", SumProofError::Signature),
            ("\u{2014} sum.golang.org", "\u{2014} sum.example.org", SumProofError::Signature),
            ("Az3grg", "Az3grh", SumProofError::Signature),
            ("tlog-proof@v1", "tlog-proof@v2", SumProofError::Form),
            ("index ", "index 0", SumProofError::Form),
            ("index ", "index +", SumProofError::Form),
            (hash, "AAAA", SumProofError::Form),
            ("extra ", "more ", SumProofError::Form),
        ] {
            let text = PROOF.replacen(from, to, 1);
            assert_ne!(text, PROOF, "{from}");
            let sum = if to == forged { other } else { SUM };
            assert_eq!(verify(&text, MODULE.1, sum), Err(expected), "{from} -> {to}");
        }
        let cut = PROOF.replacen(&format!("{hash}\n"), "", 1);
        assert_eq!(verify(&cut, MODULE.1, SUM), Err(SumProofError::NotInTree));
        let longer = PROOF.replacen(hash, &format!("{hash}\n{hash}"), 1);
        assert_eq!(verify(&longer, MODULE.1, SUM), Err(SumProofError::NotInTree));
        assert_eq!(SumProof::parse(b""), Err(SumProofError::Form));
        assert_eq!(SumProof::parse(&vec![b'a'; SumProof::LIMIT + 1]), Err(SumProofError::Form));
    }

    /// The head of a tree as RFC 9162, 2.1.1 defines it, from all leaves.
    fn head(leaves: &[Hash]) -> Hash {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) =
                    leaves.split_at(usize::try_from(half(leaves.len() as u64)).unwrap());
                node(&head(left), &head(right))
            }
        }
    }

    #[test]
    fn a_path_from_tiles_leads_to_the_head_of_every_tree() {
        let leaf = |number: u64| Sha256::digest(number.to_be_bytes()).into();
        let leaves: Vec<Hash> = (0..66_051).map(leaf).collect();
        for size in [1, 2, 3, 7, 8, 255, 256, 257, 300, 512, 65_536, 65_537, 66_051] {
            let expected = head(&leaves[..size]);
            // The nodes of each level that the tree has; a tile is as wide as they let it be.
            let mut levels = vec![leaves[..size].to_vec()];
            for level in 0..3 {
                let nodes = levels[level].as_chunks::<256>().0.iter().map(|below| head(below));
                levels.push(nodes.collect());
            }
            let tile = |level: u32, number: u64| -> Option<Vec<u8>> {
                let nodes = levels.get(usize::try_from(level).ok()?)?;
                let nodes = nodes.get(usize::try_from(number).ok()? << HEIGHT..)?;
                Some(nodes.iter().take(256).flatten().copied().collect())
            };
            let size = size as u64;
            for index in [0, 1, size / 3, size / 2, size.saturating_sub(2), size - 1] {
                let index = index.min(size - 1);
                let path = path(index, 0, size, &tile).unwrap();
                assert_eq!(
                    head_of(leaf(index), index, size, &path),
                    Some(expected),
                    "{index} of {size}"
                );
                assert_eq!(head_of(leaf(index), size, size, &path), None, "behind the last");
            }
        }
    }
}
