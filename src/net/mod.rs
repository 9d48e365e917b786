//! HTTP: the client, and a server for few readers; the only place that names their libraries.
//!
//! The client sends requests, follows redirects, tries again where that can help, and reads bodies
//! with a limit. It does not know what a registry is: a status is an answer here, and what it means
//! is for the caller to say. Plain HTTP goes to this machine alone; everywhere else it is HTTPS
//! with the system's certificates.

mod body;
mod client;
mod error;
mod response;
mod retry;
mod server;
#[cfg(test)]
pub(crate) mod test_server;

pub use body::Body;
pub use client::{Client, Request, Settings};
use error::shown;
pub use error::{HttpError, TransportError};
pub use reqwest::{Method, Url};
pub use response::{Fetched, Head, Response, resolve};
pub use server::{Answer, serve};
