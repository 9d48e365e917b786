//! A registry for tests: in memory, with a switch for each fault seen in real registries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::model::media_type::INDEX;
use crate::model::{Digest, Repository};
use crate::net::test_server::{Received, Reply, TestServer};

/// The repository that every test uses.
const PATH: &str = "/v2/acme/cni/";

/// What the registry holds and how it behaves.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(super) manifests: BTreeMap<Digest, (String, Vec<u8>)>,
    pub(super) tags: BTreeMap<String, Digest>,
    /// Whether it has the referrers API, and sends the `OCI-Subject` header.
    pub(super) referrers_api: bool,
    /// Sends only the header (ECR).
    pub(super) subject_header: bool,
    /// How many of the next referrers are accepted and not listed (olareg, under concurrent
    /// pushes).
    pub(super) forgets: usize,
    unlisted: BTreeSet<Digest>,
    /// How many referrers a page has; 0 for all.
    pub(super) page: usize,
    /// Whether a page links to itself.
    pub(super) endless: bool,
    /// GitLab: `sha256-<hex>` is the manifest of that digest.
    pub(super) digest_tags: bool,
    /// Responses, in this order, to requests whose first line contains the text.
    pub(super) faults: Vec<(&'static str, Reply)>,
    /// Lists that another client writes just after ours was written to the same tag.
    pub(super) intruders: Vec<Value>,
}

/// The registry; it stops when it is dropped.
pub(super) struct FaultRegistry {
    server: TestServer,
    state: Arc<Mutex<State>>,
}

impl FaultRegistry {
    pub(super) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        Self {
            server: TestServer::start(move |request| shared.lock().unwrap().answer(request)),
            state,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn repository(&self) -> Repository {
        format!("{}/acme/cni", self.server.host()).parse().unwrap()
    }

    pub(super) fn host(&self) -> String {
        self.server.host()
    }

    /// Sets the response to the next request whose first line contains `text`.
    pub(super) fn fault(&self, text: &'static str, reply: Reply) {
        self.state().faults.push((text, reply));
    }

    pub(super) fn store(&self, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().manifests.insert(digest, (media_type.to_owned(), bytes.to_vec()));
        digest
    }

    pub(super) fn store_tagged(&self, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = self.store(media_type, bytes);
        self.state().tags.insert(tag.to_owned(), digest);
        digest
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.server.received()
    }

    /// Returns the first lines of the requests, without the repository's path.
    pub(super) fn lines(&self) -> Vec<String> {
        self.server.lines().iter().map(|line| line.replace(PATH, "")).collect()
    }
}

fn error(status: u16, code: &str) -> Reply {
    let body = json!({ "errors": [{ "code": code, "message": "it is so", "detail": {} }] });
    Reply::new(status, body.to_string()).with("Content-Type", "application/json")
}

impl State {
    fn answer(&mut self, request: &Received) -> Reply {
        let line = request.line().replace(PATH, "");
        if let Some(index) = self.faults.iter().position(|(text, _)| line.contains(text)) {
            return self.faults.remove(index).1;
        }
        let Some(rest) = request.target.strip_prefix(PATH) else {
            return error(404, "NAME_UNKNOWN");
        };
        let (kind, name) = rest.split_once('/').unwrap_or_default();
        match (request.method.as_str(), kind) {
            ("GET" | "HEAD", "blobs") => self.blob(name),
            ("POST", "blobs") => {
                Reply::new(202, "").with("Location", format!("{PATH}uploads/1?_state=a%2Fb"))
            }
            ("PUT", "uploads") => self.put_blob(name, &request.body),
            ("GET", "manifests") => self.manifest(name),
            ("PUT", "manifests") => self.put_manifest(name, request),
            ("GET", "referrers") => self.referrers(name),
            _ => error(405, "UNSUPPORTED"),
        }
    }

    fn blob(&self, name: &str) -> Reply {
        match name.parse().ok().and_then(|digest: Digest| self.blobs.get(&digest)) {
            Some(bytes) => Reply::new(200, bytes.clone()),
            None => error(404, "BLOB_UNKNOWN"),
        }
    }

    fn put_blob(&mut self, name: &str, body: &[u8]) -> Reply {
        let digest = Digest::of(body);
        if name != format!("1?_state=a%2Fb&digest=sha256%3A{}", digest.hex()) {
            return error(400, "DIGEST_INVALID");
        }
        self.blobs.insert(digest, body.to_vec());
        Reply::new(201, "")
    }

    fn manifest(&self, name: &str) -> Reply {
        let aliased =
            name.strip_prefix("sha256-").filter(|_| self.digest_tags).map(Digest::from_hex);
        let digest =
            aliased.unwrap_or_else(|| name.parse()).ok().or_else(|| self.tags.get(name).copied());
        match digest.and_then(|digest| self.manifests.get_key_value(&digest)) {
            Some((digest, (media_type, bytes))) => Reply::new(200, bytes.clone())
                .with("Content-Type", format!("{media_type}; charset=utf-8"))
                .with("Docker-Content-Digest", digest.to_string()),
            None => error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn put_manifest(&mut self, name: &str, request: &Received) -> Reply {
        let digest = Digest::of(&request.body);
        let media_type = request.header("content-type").unwrap_or_default().to_owned();
        self.manifests.insert(digest, (media_type, request.body.clone()));
        if !name.starts_with("sha256:") {
            self.tags.insert(name.to_owned(), digest);
            if !self.intruders.is_empty() {
                let bytes = self.intruders.remove(0).to_string().into_bytes();
                let intruder = Digest::of(&bytes);
                self.manifests.insert(intruder, (INDEX.to_owned(), bytes));
                self.tags.insert(name.to_owned(), intruder);
            }
        } else if name != digest.to_string() {
            return error(400, "DIGEST_INVALID");
        }
        let reply = Reply::new(201, "").with("Docker-Content-Digest", digest.to_string());
        if self.forgets > 0 && subject(&request.body).is_some() {
            self.forgets -= 1;
            self.unlisted.insert(digest);
        } else {
            self.unlisted.remove(&digest);
        }
        match subject(&request.body) {
            Some(subject) if self.referrers_api || self.subject_header => {
                reply.with("OCI-Subject", subject)
            }
            _ => reply,
        }
    }

    fn referrers(&self, name: &str) -> Reply {
        if !self.referrers_api {
            return Reply::new(404, "404 page not found\n")
                .with("Content-Type", "text/plain; charset=utf-8");
        }
        let (digest, start) = name.split_once("?start=").unwrap_or((name, "0"));
        let start: usize = start.parse().unwrap();
        let all: Vec<Value> = self
            .manifests
            .iter()
            .filter(|(referrer, (_, bytes))| {
                subject(bytes).as_deref() == Some(digest) && !self.unlisted.contains(referrer)
            })
            .map(|(digest, (media_type, bytes))| {
                json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
            })
            .collect();
        let page = if self.page == 0 { all.len() } else { self.page };
        let entries: Vec<&Value> = all.iter().skip(start).take(page).collect();
        let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let reply = Reply::new(200, body.to_string()).with("Content-Type", INDEX);
        let next = if self.endless { start } else { start + page };
        if self.endless || next < all.len() {
            reply.with("Link", format!("<{PATH}referrers/{digest}?start={next}>; rel=\"next\""))
        } else {
            reply
        }
    }
}

fn subject(manifest: &[u8]) -> Option<String> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    Some(manifest.pointer("/subject/digest")?.as_str()?.to_owned())
}
