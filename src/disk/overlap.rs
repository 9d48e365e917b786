//! Directories that may not overlap.
//!
//! A runtime calls any file of a plugin directory, and the state directory is swept: neither may be
//! inside the other, and the policy may not be inside a plugin directory. Only paths are compared
//! here; two names of one directory are found by `check_apart`, which opens them.

use crate::model::HostPath;

/// Two directories of a request that overlap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Overlap {
    /// A plugin directory is inside the state directory, or the other way round.
    #[error("state directory `{0}` and plugin directory `{1}` overlap")]
    State(HostPath, HostPath),
    /// The policy directory is inside a plugin directory.
    #[error("policy directory `{0}` is inside plugin directory `{1}`")]
    Policy(HostPath, HostPath),
}

impl Overlap {
    /// What the reader can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State(..) => "choose another one with --state-dir",
            Self::Policy(..) => "choose another one with --policy-dir",
        }
    }
}

/// Refuses directories that overlap.
pub fn check_overlap(
    state: &HostPath,
    policy: &HostPath,
    directories: &[HostPath],
) -> Result<(), Overlap> {
    for bin in directories {
        if bin.holds(state) || state.holds(bin) {
            return Err(Overlap::State(state.clone(), bin.clone()));
        }
        if bin.holds(policy) {
            return Err(Overlap::Policy(policy.clone(), bin.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_directories_that_overlap() {
        let path = |text: &str| text.parse::<HostPath>().unwrap();
        let against = |state: &str, policy: &str, bin: &str| {
            let checked = check_overlap(&path(state), &path(policy), &[path("/opt/x"), path(bin)]);
            checked.err().map(|overlap| (overlap.to_string(), overlap.hint()))
        };
        let state = |state: &str, bin: &str| {
            let text = format!("state directory `{state}` and plugin directory `{bin}` overlap");
            Some((text, "choose another one with --state-dir"))
        };
        assert_eq!(against("/var/lib/cnister", "/etc/cnister", "/opt/cni/bin"), None);
        assert_eq!(against("/var/lib/cni", "/etc/cnister", "/var/lib/cnister"), None);
        assert_eq!(against("/opt/cni/bin/state", "/etc/x", "/opt/cni/bin"), {
            state("/opt/cni/bin/state", "/opt/cni/bin")
        });
        assert_eq!(
            against("/opt/cni", "/etc/x", "/opt/cni/bin"),
            state("/opt/cni", "/opt/cni/bin")
        );
        assert_eq!(against("/opt/cni", "/etc/x", "/opt/cni"), state("/opt/cni", "/opt/cni"));
        let text = "policy directory `/opt/cni/bin/p` is inside plugin directory `/opt/cni/bin`";
        let expected = Some((text.to_owned(), "choose another one with --policy-dir"));
        assert_eq!(against("/var/lib/cnister", "/opt/cni/bin/p", "/opt/cni/bin"), expected);
        assert_eq!(against("/var/lib/cnister", "/etc", "/etc/cni"), None);
    }
}
