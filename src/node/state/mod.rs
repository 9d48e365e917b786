//! The records of a node, in a directory for root alone.
//!
//! They are reached only through the lock, so that no receipt is read while it is replaced. All of
//! them are caches of decisions: content is compared with signed digests, and evidence is verified
//! again, before a record is believed.

mod claim;
mod earlier;
mod floor;
mod generation;
mod held;
mod journal;
mod kept;
mod lock;
mod names;
mod receipt;
mod refusal;
mod release;
mod store;

pub(crate) use claim::Claim;
pub use claim::Installation;
pub(crate) use earlier::{Earlier, EarlierBundles};
pub use floor::{Floor, Floors};
pub(crate) use generation::PreparedGeneration;
pub use generation::{Collected, Generation, History, MAX_GENERATIONS, Unreadable};
pub(crate) use held::{Collections, Rewritten};
pub use journal::{Journal, JournalEntry, Purpose};
pub use kept::KeptReleases;
pub(crate) use lock::not_installed;
pub use lock::{Reading, State, Writing, known_directories};
pub use names::RECORDS;
pub use receipt::{InstalledDirectory, InstalledFile, Original, Owner, Receipt, Schema};
pub(crate) use receipt::{SET_ID, strength};
pub use refusal::{Reason, Refusal, RolledBack};
pub use release::{Release, Releases};
pub(crate) use store::COPY_MODE;
pub use store::Stored;
