//! The text of the systemd unit that checks a node before its container runtime starts.
//!
//! The unit is root's, so it may say what has to hold: which policy, which bundle, which
//! directories. The same text records what was written beside it, and its own digest, so that only
//! unchanged files are removed again.

use std::collections::BTreeSet;

use crate::model::{BundleName, Digest, HostPath, Repository};

/// The name of the unit.
pub const UNIT: &str = "cnister-verify.service";
/// Where the owner of a system puts units (systemd.unit(5), "Unit File Load Path").
pub(crate) const UNITS: &str = "/etc/systemd/system";
/// What starts the unit.
pub(crate) const WANTED_BY: &str = "multi-user.target";
/// Brings back what is altered or missing, from the copies that the node keeps.
const REPAIR: &[&str] = &["--repair"];

/// Everything in the field that starts pods, or what starts them.
pub(crate) const RUNTIMES: &[&str] = &[
    "containerd.service",
    "crio.service",
    "cri-docker.service",
    "kubelet.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "k0scontroller.service",
    "k0sworker.service",
    "microshift.service",
    "snap.k8s.containerd.service",
    "snap.k8s.kubelet.service",
    "snap.kubelet-eks.daemon.service",
    "snap.microk8s.daemon-containerd.service",
    "snap.microk8s.daemon-kubelite.service",
];

/// What the settings below hide from the unit.
const HIDDEN: &[&str] =
    &["/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev", "/proc", "/sys"];

/// What a unit is made from.
#[derive(Debug, Clone)]
pub struct Unit<'a> {
    /// The path of the program on the node.
    pub tool: &'a HostPath,
    /// What it has to be when it is taken back.
    pub tool_digest: Digest,
    /// Where receipt and evidence are kept.
    pub state: &'a HostPath,
    /// The file with the policy.
    pub policy: &'a HostPath,
    /// The only policy that counts.
    pub policy_digest: Digest,
    /// The only bundle that counts.
    pub bundle: &'a BundleName,
    /// The name that the policy's rules are matched against.
    pub repository: Option<&'a Repository>,
    /// The plugin directories that must be installed.
    pub directories: Vec<&'a HostPath>,
    /// What a "no" means.
    pub on_failure: OnFailure,
}

/// What a "no" at boot means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The runtime starts, and systemd shows the unit as failed.
    Start,
    /// The runtime does not start.
    Hold,
}

/// Why no unit can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A word that systemd would read in another way.
    #[error("`{0}` cannot be written into a unit: only letters, digits and `/_.:@+=,-` can")]
    Word(String),
    /// A path that the unit's own settings hide.
    #[error("`{0}` is below `{1}`, which is hidden from the unit")]
    Hidden(String, &'static str),
}

/// What a unit says about what was written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The path of the program on the node.
    pub(crate) tool: HostPath,
    /// The digest of the program.
    pub(crate) digest: Digest,
    /// What the command pins: the digest of the policy in hexadecimal digits,
    pub(crate) policy: String,
    /// the bundle,
    pub(crate) bundle: String,
    /// and the plugin directories.
    pub(crate) directories: BTreeSet<String>,
    /// What a "no" means, and so which links lead to the unit.
    pub(crate) on_failure: OnFailure,
}

impl Unit<'_> {
    /// The command that the unit runs.
    pub fn command(&self) -> Vec<String> {
        let policy_digest = self.policy_digest.hex();
        let mut words = vec![self.tool.as_str(), "check", "--at-boot"];
        words.extend(REPAIR);
        words.extend(["--state-dir", self.state.as_str()]);
        words.extend(["--policy", self.policy.as_str(), "--policy-sha256", &policy_digest]);
        words.extend(["--expect-bundle", self.bundle.as_str()]);
        let repository = self.repository.map(Repository::to_string);
        words.extend(repository.iter().flat_map(|name| ["--as", name.as_str()]));
        words.extend(self.directories.iter().flat_map(|path| ["--bin-dir", path.as_str()]));
        words.into_iter().map(str::to_owned).collect()
    }

    /// The text of the unit, with its own digest in the last line.
    pub fn to_text(&self) -> Result<String, UnitError> {
        let command = self.command();
        command.iter().try_for_each(|word| plain(word))?;
        let policy_directory = self.policy.parent();
        let paths = [self.tool, self.state]
            .into_iter()
            .chain(&policy_directory)
            .chain(self.directories.iter().copied());
        let paths: Vec<_> = paths.map(HostPath::as_str).collect();
        paths.iter().try_for_each(|path| visible_to_the_unit(path))?;
        // A directory that is gone is a finding of the check; without the dash the unit would not
        // even start.
        let written: Vec<_> =
            [self.state].into_iter().chain(self.directories.iter().copied()).collect();
        let written: Vec<_> = written.into_iter().map(|path| format!("-{path}")).collect();
        let runtimes = RUNTIMES.join(" ");
        let (manual, required) = match self.on_failure {
            OnFailure::Start => (String::new(), String::new()),
            // Stopping a unit also stops what requires it: no one should take a node down by asking
            // again.
            OnFailure::Hold => {
                ("RefuseManualStop=yes\n".to_owned(), format!("RequiredBy={runtimes}\n"))
            }
        };
        let text = format!(
            "\
# Written by `cnister boot enable`; run that again after a change. `cnister boot disable` removes this file.
# Settings for this node belong in {UNIT}.d/*.conf.
[Unit]
Description=Check the CNI plugins against what was signed
Before={runtimes}
RequiresMountsFor={mounts}
# To skip the check, add cnister.verify=0 to the kernel command line.
ConditionKernelCommandLine=!cnister.verify=0
{manual}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}
TimeoutStartSec=90
UMask=0077
MemoryMax=64M
TasksMax=8
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={written}
NoExecPaths=/
ExecPaths={tool}
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
PrivateNetwork=yes
PrivateIPC=yes
IPAddressDeny=any
RestrictAddressFamilies=none
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallFilter=~@privileged @resources @setuid @keyring @memlock @aio @network-io
SystemCallErrorNumber=EPERM

[Install]
WantedBy={WANTED_BY}
{required}
[X-Cnister]
Tool={tool}
ToolSHA256={digest}
",
            mounts = paths.join(" "),
            command = command.join(" "),
            written = written.join(" "),
            tool = self.tool,
            digest = self.tool_digest.hex(),
        );
        Ok(signed_off(text))
    }
}

/// Appends the digest of a text to it.
fn signed_off(mut text: String) -> String {
    let digest = Digest::of(text.as_bytes()).hex();
    text.push_str(&format!("{LAST}{digest}\n"));
    text
}

/// What the last line of a unit starts with.
const LAST: &str = "# SHA-256 of all lines above: ";

/// Reads what a unit records; `None` if it is not one of ours, or was changed.
pub(crate) fn recorded(text: &str) -> Option<Recorded> {
    let (above, digest) = text.strip_suffix('\n')?.rsplit_once(LAST)?;
    if Digest::of(above.as_bytes()).hex() != digest {
        return None;
    }
    let field = |name: &str| above.lines().find_map(|line| line.strip_prefix(name));
    let command: Vec<&str> = field("ExecStart=")?.split(' ').collect();
    let values = |name: &'static str| {
        let pairs = command.windows(2).filter_map(|pair| <&[&str; 2]>::try_from(pair).ok());
        pairs.filter(move |[option, _]| *option == name).map(|[_, value]| (*value).to_owned())
    };
    Some(Recorded {
        tool: field("Tool=")?.parse().ok()?,
        digest: Digest::from_hex(field("ToolSHA256=")?).ok()?,
        policy: values("--policy-sha256").next()?,
        bundle: values("--expect-bundle").next()?,
        directories: values("--bin-dir").collect(),
        on_failure: match field("RequiredBy=") {
            Some(_) => OnFailure::Hold,
            None => OnFailure::Start,
        },
    })
}

/// Whether systemd takes the word as it is: `%`, `$`, quotes and blanks mean something to it
/// (systemd.service(5), "Command Lines").
fn plain(word: &str) -> Result<(), UnitError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "/_.:@+=,-".contains(c);
    if word.chars().all(good) { Ok(()) } else { Err(UnitError::Word(word.to_owned())) }
}

fn visible_to_the_unit(path: &str) -> Result<(), UnitError> {
    let below = |hidden: &&&str| {
        path.strip_prefix(**hidden).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match HIDDEN.iter().find(below) {
        Some(hidden) => Err(UnitError::Hidden(path.to_owned(), hidden)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> HostPath {
        text.parse().unwrap()
    }

    /// Makes a unit of a tool, a plugin directory and what a "no" means.
    fn text(tool: &str, bin: &str, on_failure: OnFailure) -> Result<String, UnitError> {
        let (tool, bin, policy) = (path(tool), path(bin), path("/etc/cnister/policy.yaml"));
        let unit = Unit {
            tool: &tool,
            tool_digest: Digest::of(b"tool"),
            state: &HostPath::default_state_directory(),
            policy: &policy,
            policy_digest: Digest::of(b"policy"),
            bundle: &"test".parse().unwrap(),
            repository: Some(&"registry.example/cni".parse().unwrap()),
            directories: vec![&bin],
            on_failure,
        };
        unit.to_text()
    }

    const TOOL: &str = "/usr/local/libexec/cnister";

    #[test]
    fn the_command_pins_everything_that_root_said() {
        let text = text(TOOL, "/opt/cni/bin", OnFailure::Start).unwrap();
        let expected = format!(
            "ExecStart={TOOL} check --at-boot --repair --state-dir /var/lib/cnister --policy /etc/cnister/policy.yaml \
             --policy-sha256 {} --expect-bundle test --as registry.example/cni --bin-dir /opt/cni/bin",
            Digest::of(b"policy").hex()
        );
        assert_eq!(text.lines().find(|line| line.starts_with("ExecStart=")), Some(&*expected));
        assert!(text.contains("\nReadWritePaths=-/var/lib/cnister -/opt/cni/bin\n"), "{text}");
        assert!(!text.contains("RequiredBy=") && !text.contains("RefuseManualStop="), "{text}");
    }

    #[test]
    fn only_who_asks_for_it_holds_the_runtime() {
        let text = text(TOOL, "/opt/cni/bin", OnFailure::Hold).unwrap();
        assert!(
            text.contains("\nRequiredBy=containerd.service crio.service ")
                && text.contains("\nRefuseManualStop=yes\n")
        );
    }

    #[test]
    fn records_what_was_written_and_sees_every_change() {
        let text = text(TOOL, "/opt/cni/bin", OnFailure::Start).unwrap();
        let expected = Recorded {
            tool: path(TOOL),
            digest: Digest::of(b"tool"),
            policy: Digest::of(b"policy").hex(),
            bundle: "test".to_owned(),
            directories: ["/opt/cni/bin".to_owned()].into(),
            on_failure: OnFailure::Start,
        };
        assert_eq!(recorded(&text), Some(expected));
        let held = super::tests::text(TOOL, "/opt/cni/bin", OnFailure::Hold).unwrap();
        assert_eq!(recorded(&held).map(|found| found.on_failure), Some(OnFailure::Hold));
        for changed in [
            text.replace("--at-boot", "--no-probe"),
            text.replace("MemoryMax=64M", "MemoryMax=65M"),
            text.replacen("Tool=", "Tool=/bin/sh #", 1),
            format!("{text}\n"),
            format!("\n{text}"),
            text.trim_end().to_owned(),
            text.lines()
                .filter(|line| !line.starts_with(LAST))
                .map(|line| format!("{line}\n"))
                .collect(),
            String::new(),
        ] {
            assert_eq!(recorded(&changed), None, "{changed}");
        }
        // An editor that computes the digest again could have done anything else as well.
        assert!(
            recorded(&signed_off("[X-Cnister]\nTool=/a\n".to_owned())).is_none(),
            "no digest of the tool"
        );
    }

    #[test]
    fn words_that_mean_something_to_systemd_are_refused() {
        for good in
            ["/opt/cni/bin", "/opt/c-n_i@1.2+3:4,5=6", "/run/cni/bin", "/homes/cni", "/var/tmpx"]
        {
            assert!(text(TOOL, good, OnFailure::Start).is_ok(), "{good}");
        }
        for bad in [
            "/opt/cni bin",
            "/opt/%h",
            "/opt/$HOME",
            "/opt/\"cni\"",
            "/opt/a\\b",
            "/opt/a;b",
            "/opt/ä",
            "/opt/'a",
        ] {
            assert_eq!(text(TOOL, bad, OnFailure::Start), Err(UnitError::Word(bad.to_owned())));
            assert_eq!(
                text(bad, "/opt/cni/bin", OnFailure::Start),
                Err(UnitError::Word(bad.to_owned()))
            );
        }
        for (bad, hidden) in
            [("/home/cni", "/home"), ("/tmp", "/tmp"), ("/run/user/0/x", "/run/user")]
        {
            assert_eq!(
                text(TOOL, bad, OnFailure::Start),
                Err(UnitError::Hidden(bad.to_owned(), hidden))
            );
            assert_eq!(
                text(bad, "/opt/cni/bin", OnFailure::Start),
                Err(UnitError::Hidden(bad.to_owned(), hidden))
            );
        }
    }
}
