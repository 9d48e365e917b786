//! What the configuration of container runtimes says about CNI: where they look for plugins and for
//! network configurations. Pure: text in; finding the files is the job of `node/host/runtime`.

mod containerd;
mod crio;
mod document;
mod rancher;

pub use containerd::Containerd;
pub use crio::Crio;
pub use document::RuntimeConfigError;
pub use rancher::data_dir;
