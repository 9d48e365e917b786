//! The fields of CNI configuration and of the records of attachments, which libcni and Multus read
//! with Go's `encoding/json`: it ignores the case of a name, and of two spellings of one field the
//! last one counts. A field that appears only in another spelling is read, as in Go.
//!
//! NetworkAttachmentDefinitions have no outline: the API server reads exact names.

use crate::model::json::{Fields, Outline, Spelling};
use Outline::{Any, List};

const fn go(known: &'static [(&'static str, Outline)]) -> Fields {
    Fields { known, others: Any, spelling: Spelling::Read }
}

/// A list of plugins, or one plugin (CNI specification 1.1.0, section 1).
pub(super) const CONFIG: Outline = Outline::Fields(&CONFIGURATION);

static CONFIGURATION: Fields = go(&[
    ("cniVersion", Any),
    ("cniVersions", Any),
    ("name", Any),
    ("type", Any),
    ("disableCheck", Any),
    ("disableGC", Any),
    ("loadOnlyInlinedPlugins", Any),
    ("plugins", List(&Outline::Fields(&CONFIGURATION))),
    ("ipam", Outline::Fields(&IPAM)),
    ("dns", Any),
    ("args", Any),
    ("capabilities", Any),
    ("runtimeConfig", Any),
    ("prevResult", Any),
    // Multus and flannel.
    ("binDir", Any),
    ("confDir", Any),
    ("delegate", Outline::Fields(&CONFIGURATION)),
    ("delegates", List(&Outline::Fields(&CONFIGURATION))),
]);

static IPAM: Fields = go(&[("type", Any)]);

/// A file of libcni's result cache (`cachedInfo` in libcni's `api.go`).
pub(super) const RECORD: Outline = Outline::Fields(&CACHED);

static CACHED: Fields = go(&[
    ("kind", Any),
    ("containerId", Any),
    ("config", Any),
    ("ifName", Any),
    ("networkName", Any),
    ("netns", Any),
    ("cniArgs", Any),
    ("capabilityArgs", Any),
    ("result", Any),
]);

/// A file of Multus' cache: a list of its `DelegateNetConf`.
pub(super) const DELEGATES: Outline = List(&Outline::Fields(&DELEGATE));

static DELEGATE: Fields =
    go(&[("Name", Any), ("Bytes", Any), ("ifnameRequest", Any), ("Conf", Any), ("ConfList", Any)]);
