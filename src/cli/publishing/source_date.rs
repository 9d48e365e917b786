//! The time that is written into images and statements, so that a build can be repeated.

use crate::cli::terminal::Failure;

/// The time inside images, in seconds since 1970.
pub(super) fn epoch() -> Result<u64, Failure> {
    source_date().map(Option::unwrap_or_default)
}

/// The time to use instead of now, in seconds since 1970 (reproducible-builds.org,
/// SOURCE_DATE_EPOCH).
pub(super) fn source_date() -> Result<Option<u64>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|_| {
            Failure::request(format!("SOURCE_DATE_EPOCH is `{text}`, expected seconds since 1970"))
        }),
        Err(error) => Err(Failure::request(format!("SOURCE_DATE_EPOCH: {error}"))),
    }
}
