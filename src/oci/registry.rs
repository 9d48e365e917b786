//! Reads a repository of a registry over HTTP (distribution-spec 1.1).
//!
//! Everything returned was checked: manifests and blobs have the digest they were requested by, and
//! "no referrers" means that the registry said so, never that it failed. Pushing is in `push`, the
//! meaning of responses in `answer`.

mod answer;
#[cfg(feature = "publish")]
mod download;
#[cfg(test)]
mod fault_registry;
#[cfg(feature = "publish")]
mod learned;
#[cfg(feature = "publish")]
mod push;
#[cfg(test)]
#[cfg(feature = "publish")]
mod push_tests;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::time::Duration;

use oci_spec::image::Descriptor;

use super::{OciError, Source, VerifyReader, referrers};
use crate::model::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, MANIFEST_LIMIT};
use crate::model::{Digest, Document, Repository, Selector, document, visible};
use crate::net::{self, Client, HttpError, Method, Request, Url};

/// How often a list of referrers is read again if it looks wrong. Registries that store tags in
/// files (distribution 2.8) return garbage while one is being rewritten.
const REREADS: usize = 4;
/// The pauses before those attempts, and after writing such a list.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    repository: Repository,
    /// `…/v2/PATH/`.
    base: Url,
    /// The longest manifest, index or list of referrers that is read, in bytes.
    limit: usize,
    #[cfg(feature = "publish")]
    learned: learned::Learned,
}

/// What the tag that lists referrers (`sha256-…`) holds.
enum Tagged {
    /// The registry has no such tag.
    Nothing,
    /// The subject itself: GitLab resolves any `sha256-…` as a digest (oras#2148).
    Subject,
    /// A list.
    Index(Document),
}

impl Registry {
    /// Creates a repository with a default client. Nothing is sent yet.
    pub fn new(repository: Repository) -> Result<Self, OciError> {
        Self::with_client(repository, Client::default())
    }

    /// Creates a repository that is reached through this client.
    pub fn with_client(repository: Repository, client: Client) -> Result<Self, OciError> {
        let scheme = if repository.is_loopback() { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/", api_host(repository.host()), repository.path());
        let base = Url::parse(&url).map_err(|_| HttpError::Url(visible(&url).into_owned()))?;
        Ok(Self {
            client,
            repository,
            base,
            limit: MANIFEST_LIMIT,
            #[cfg(feature = "publish")]
            learned: learned::Learned::default(),
        })
    }

    /// The same repository, of which manifests, indexes and lists of referrers longer than `limit`
    /// bytes are errors.
    #[must_use]
    pub fn limited(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Creates a request to this registry.
    ///
    /// Credentials, once supported, are added here, and only if `url` has the origin of `base`: the
    /// location of an upload and the link to the next page are chosen by the registry and may point
    /// anywhere.
    fn request(&self, method: Method, url: Url) -> Request {
        Request::new(method, url)
    }

    fn url(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{rest}", self.base.path()));
        url
    }

    /// Fetches a manifest; `None` if the registry has none by this tag or digest.
    fn fetch_manifest(&self, reference: &str) -> Result<Option<Document>, OciError> {
        let request = self
            .request(Method::GET, self.url(&format!("manifests/{reference}")))
            .header("Accept", [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", "));
        let fetched = self.client.fetch(&request, self.limit as u64)?;
        match fetched.head.status() {
            200 => answer::document(fetched, &self.origin(), "a manifest").map(Some),
            404 => Ok(None),
            _ => Err(answer::refusal(&fetched, "a manifest")),
        }
    }

    /// Reads the tag that lists referrers. With `known`, the tag existed a moment ago, so its
    /// absence is believed only if it persists.
    fn fetch_tagged(&self, subject: &Digest, known: bool) -> Result<Tagged, OciError> {
        let tag = subject.referrers_tag();
        let mut found = String::new();
        for read in 0..REREADS {
            if read > 0 {
                self.client.pause(SHORTEST_PAUSE, LONGEST_PAUSE);
            }
            match self.fetch_manifest(&tag)? {
                None if known && read + 1 < REREADS => {}
                None => return Ok(Tagged::Nothing),
                Some(document) if document.digest == *subject => return Ok(Tagged::Subject),
                Some(document) if document.is_index() => return Ok(Tagged::Index(document)),
                Some(document) => found = format!("`{}`", visible(&document.media_type)),
            }
        }
        Err(OciError::ReferrersTag { origin: self.origin(), subject: *subject, tag, found })
    }

    /// Reads the list that the registry maintains, page by page; `None` if it maintains none, or if
    /// what it answers is a list without `manifests`.
    fn referrers_by_api(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>, OciError> {
        let (mut found, mut length) = (None, 0);
        let mut url = self.url(&format!("referrers/{subject}"));
        for page in 0..referrers::PAGES {
            let request = self.request(Method::GET, url).header("Accept", INDEX);
            let fetched = self.client.fetch(&request, self.limit as u64)?;
            match fetched.head.status() {
                // Not supported, as various registries say it, some with 200 (sigstore-js#1187;
                // go-containerregistry decides by the type as well). Later pages do not vanish.
                200 if page == 0 && !answer::is_index(&fetched) => return Ok(None),
                200 => {}
                400 | 404 | 405 | 406 if page == 0 => return Ok(None),
                _ => return Err(answer::refusal(&fetched, "a list of referrers")),
            }
            let link = fetched.head.header("link").and_then(referrers::next_page);
            let next = link.map(|link| net::resolve(fetched.head.url(), link)).transpose()?;
            let document = answer::document(fetched, &self.origin(), "a list of referrers")?;
            length += document.bytes.len();
            if length > self.limit {
                let (origin, subject) = (self.origin(), *subject);
                return Err(OciError::ReferrersTooLong { origin, subject, limit: self.limit });
            }
            if let Some(entries) = self.entries(subject, &document)? {
                found.get_or_insert_with(Vec::new).extend(entries);
            }
            if found.as_ref().is_some_and(|found| found.len() > referrers::ENTRIES) {
                break;
            }
            match next {
                Some(next) => url = next,
                None => return Ok(found),
            }
        }
        Err(self.too_many(subject))
    }

    fn entries(
        &self,
        subject: &Digest,
        document: &Document,
    ) -> Result<Option<Vec<Descriptor>>, OciError> {
        let entries = referrers::entries(document)
            .map_err(|source| OciError::Document { origin: self.origin(), source })?;
        match &entries {
            Some(entries) if entries.len() > referrers::ENTRIES => Err(self.too_many(subject)),
            _ => Ok(entries),
        }
    }

    fn too_many(&self, subject: &Digest) -> OciError {
        OciError::TooManyReferrers {
            origin: self.origin(),
            subject: *subject,
            limit: referrers::ENTRIES,
        }
    }
}

/// Returns the host that serves the API of a registry, which for Docker Hub has another name.
fn api_host(host: &str) -> &str {
    if host == "docker.io" { "registry-1.docker.io" } else { host }
}

impl Source for Registry {
    fn origin(&self) -> String {
        self.repository.to_string()
    }

    fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
        let reference = match (&selector.digest, &selector.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        let document = self.fetch_manifest(&reference)?.ok_or_else(|| OciError::NotFound {
            origin: self.origin(),
            what: match (&selector.digest, reference.as_str()) {
                (Some(digest), _) => format!("manifest {digest}"),
                (None, "latest") => "tag `latest` (the default if no tag is given)".to_owned(),
                (None, tag) => format!("tag `{tag}`"),
            },
        })?;
        match selector.digest {
            Some(expected) if expected != document.digest => {
                Err(OciError::Digest { origin: self.origin(), expected, found: document.digest })
            }
            _ => Ok(document),
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        let Some(digest) = document::sha256(descriptor) else {
            let what = format!("blob {}", visible(descriptor.digest().as_ref()));
            return Err(OciError::NotFound { origin: self.origin(), what });
        };
        let response =
            self.client.open(&self.request(Method::GET, self.url(&format!("blobs/{digest}"))))?;
        match response.head().status() {
            200 => {
                answer::check_length(response.head(), &self.origin(), digest, descriptor.size())?;
                Ok(Box::new(VerifyReader::new(response, self.origin(), digest, descriptor.size())))
            }
            404 => {
                Err(OciError::NotFound { origin: self.origin(), what: format!("blob {digest}") })
            }
            _ => Err(answer::refusal(&response.fetch(0)?, "a blob")),
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let forbidden = match self.referrers_by_api(subject) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            // What is forbidden may merely not be there: a list under the tag is as good, and
            // without one it stays unknown.
            Err(error) if error.is_forbidden() => Some(error),
            Err(error) => return Err(error),
        };
        match (self.fetch_tagged(subject, false)?, forbidden) {
            (Tagged::Index(document), _) => {
                Ok(self.entries(subject, &document)?.unwrap_or_default())
            }
            (Tagged::Nothing | Tagged::Subject, None) => Ok(Vec::new()),
            (Tagged::Nothing | Tagged::Subject, Some(error)) => Err(error),
        }
    }
}
