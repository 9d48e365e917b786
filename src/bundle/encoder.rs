//! What compresses a layer: exact encoders, with fixed parameters, fed in fixed portions.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use zstd::zstd_safe::CParameter;

use super::compression::ZSTD_WINDOW_LOG;
use super::{Compression, gzip};

/// How a layer is written: a format, and for zstd how much time is spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// zstd, fast, and hardly larger than the smallest.
    #[default]
    #[serde(alias = "zstd")]
    Balanced,
    /// zstd, smaller: for a bundle that is built once and pulled by many nodes.
    Best,
    /// gzip, for runtimes older than containerd 1.5.
    Gzip,
    /// No compression: a digest that depends on no encoder.
    None,
}

/// The parameters of zstd for [`Encoding::Balanced`]: one table of 2 MiB, which stays in the cache,
/// and no repetition shorter than seven bytes, of which Go programs have few that are worth a
/// search. Eighteen static plugins (68 MB) become 11.7 MB at a quarter of the time of [`BEST`]. A
/// second table (level 3) takes twice as long for 1 %.
const BALANCED: &[CParameter] = &[
    CParameter::CompressionLevel(2),
    CParameter::HashLog(19),
    CParameter::MinMatch(7),
    CParameter::LdmMinMatch(128),
    CParameter::LdmHashRateLog(8),
];
/// The parameters of zstd for [`Encoding::Best`]: the same plugins become 10.6 MB. What two
/// programs share is long, so fewer and longer candidates are remembered for it. Level 12 takes
/// twice as long again for 1 %.
const BEST: &[CParameter] =
    &[CParameter::CompressionLevel(9), CParameter::LdmMinMatch(128), CParameter::LdmHashRateLog(8)];
/// The release of zlib-rs, which does not tell it itself; a test compares it with `Cargo.lock`.
const ZLIB_RS: &str = "0.6.8";
/// zlib-rs makes other bytes when it is written to in other portions, so all portions but the last
/// have this size.
const PORTION: usize = 64 * 1024;

/// Compresses what is written to it, with the same bytes however it is cut into writes.
pub(super) struct Encoder<W: Write> {
    portion: Vec<u8>,
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Gzip(gzip::Encoder<W>),
    None(W),
}

impl Encoding {
    /// Every encoding, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Balanced, Self::Best, Self::Gzip, Self::None];
    /// What a definition may call them; `zstd` is the default.
    pub const NAMES: [&str; 5] = ["balanced", "zstd", "best", "gzip", "none"];

    /// The format of what it writes.
    pub fn compression(self) -> Compression {
        match self {
            Self::Balanced | Self::Best => Compression::Zstd,
            Self::Gzip => Compression::Gzip,
            Self::None => Compression::None,
        }
    }

    /// What makes the bytes: the encoder, its version and its parameters.
    pub fn encoder_id(self) -> String {
        match self {
            Self::Balanced => zstd_id("level=2 hash=19 match=7 ldm-match=128 ldm-rate=8"),
            Self::Best => zstd_id("level=9 ldm-match=128 ldm-rate=8"),
            Self::Gzip => format!("zlib-rs {ZLIB_RS} level={} portion={PORTION}", gzip::LEVEL),
            Self::None => "none".to_owned(),
        }
    }

    pub(super) fn encoder<W: Write>(self, output: W) -> io::Result<Encoder<W>> {
        let inner = match self {
            Self::Balanced => Inner::Zstd(zstd_encoder(output, BALANCED)?),
            Self::Best => Inner::Zstd(zstd_encoder(output, BEST)?),
            Self::Gzip => Inner::Gzip(gzip::Encoder::new(output)?),
            Self::None => Inner::None(output),
        };
        Ok(Encoder { portion: Vec::with_capacity(PORTION), inner })
    }
}

fn zstd_id(parameters: &str) -> String {
    let version = zstd::zstd_safe::version_string();
    format!("zstd {version} {parameters} ldm window={ZSTD_WINDOW_LOG} checksum")
}

/// One thread: with workers, matches do not reach across their jobs.
fn zstd_encoder<W: Write>(
    output: W,
    parameters: &[CParameter],
) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(output, 0)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(ZSTD_WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    parameters.iter().try_for_each(|parameter| encoder.set_parameter(*parameter))?;
    Ok(encoder)
}

impl<W: Write> Encoder<W> {
    /// Ends the stream and returns the writer behind.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_portion()?;
        match self.inner {
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::None(output) => Ok(output),
        }
    }

    fn write_portion(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Zstd(encoder) => encoder.write_all(&self.portion)?,
            Inner::Gzip(encoder) => encoder.write_all(&self.portion)?,
            Inner::None(output) => output.write_all(&self.portion)?,
        }
        self.portion.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PORTION.saturating_sub(self.portion.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.portion.extend_from_slice(taken);
        if self.portion.len() == PORTION {
            self.write_portion()?;
        }
        Ok(taken.len())
    }

    /// Does nothing: a flush in the middle would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_the_encoder_that_is_locked() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"zlib-rs\"\nversion = \"{ZLIB_RS}\"")));
        assert_eq!(
            Encoding::Balanced.encoder_id(),
            "zstd 1.5.7 level=2 hash=19 match=7 ldm-match=128 ldm-rate=8 ldm window=23 checksum"
        );
        assert_eq!(
            Encoding::Best.encoder_id(),
            "zstd 1.5.7 level=9 ldm-match=128 ldm-rate=8 ldm window=23 checksum"
        );
        assert_eq!(Encoding::Gzip.encoder_id(), "zlib-rs 0.6.8 level=6 portion=65536");
    }
}
