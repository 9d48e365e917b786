//! HTTP: a client, and a server for a few readers; the only module that names their libraries.
//!
//! The client sends requests, follows redirects, retries where that can help, and reads bodies with
//! a limit, all in a limited time. It knows nothing about registries: a status is a result here,
//! and callers such as `oci` decide what it means. Plain HTTP is only used to reach this machine,
//! and for downloads whose digest the caller knows; all other hosts are reached over HTTPS with the
//! system's certificates, so that no one on the network can read or change what is transferred.

mod body;
mod budget;
mod client;
#[cfg(any(feature = "publish", test))]
mod download;
mod error;
mod response;
mod retry;
mod server;
#[cfg(test)]
pub(crate) mod test_server;

pub use body::Body;
#[cfg(any(feature = "publish", test))]
pub(crate) use client::is_loopback;
pub use client::{Client, Request, Settings};
#[cfg(any(feature = "publish", test))]
pub use download::{Content, Download, DownloadError, download};
use error::shown;
pub use error::{HttpError, TransportError};
pub use reqwest::{Method, Url};
pub use response::{Fetched, Head, Response, resolve};
pub use server::{Answer, serve};
