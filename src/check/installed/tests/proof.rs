//! Checks of signed bundles, which repeat the whole proof.

use std::time::SystemTime;

use super::*;
use crate::disk::DiskError;
use crate::node::test_support::stage_files;
use crate::node::{
    ForeignFiles, InstallOptions, KeptPolicy, Progress, Purpose, Record, Staged, apply, observe,
    plan,
};
use crate::trust::test_support::{Image, Signer, policy};
use crate::trust::{Policy, Presence, Verifier};

/// Installs a signed image of one empty plugin, the way the command does.
fn install(host: &Path, image: &Image, policy: &Policy) {
    let (platform, name) = ("linux/amd64".parse().unwrap(), "ghcr.io/acme/cni".parse().unwrap());
    let now = SystemTime::UNIX_EPOCH;
    let verifier = Verifier { policy, name: Some(&name), platform: &platform, now };
    let verified = verifier.verify(&image.evidence(), Presence::New).unwrap();
    let staged = tempfile::tempdir().unwrap();
    stage_files(staged.path(), &verified.value().files, &[("bridge", b"")]);
    let root = Root::open(host).unwrap();
    let state = State::open_or_create(&root, &HostPath::default_state_directory()).unwrap();
    let state = state.write(Duration::ZERO).unwrap();
    let paths = [HostPath::default_bin_directory()];
    let observed =
        observe(&root, Some(&state), &paths, &verified.value().files.plugins, ForeignFiles::Read)
            .unwrap();
    let plan = plan(&verified, &observed, &InstallOptions::default()).unwrap();
    let evidence = image.evidence().to_bytes();
    let policy_directory = HostPath::default_policy_directory();
    let record = Record {
        evidence: &evidence,
        policy: Some(KeptPolicy { text: policy.text(), directory: &policy_directory }),
        generations: 2,
        repository: Some(&name),
        purpose: Purpose::Install,
        rollback: None,
    };
    let mut payload = Staged::open(staged.path()).unwrap();
    apply(&root, &state, &plan, &mut payload, &record, Progress::silent()).unwrap();
}

#[test]
fn a_check_repeats_the_proof_with_the_policy_of_today() {
    let (signer, other) = (Signer::new(), Signer::new());
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    let host = tempfile::tempdir().unwrap();
    let root = Root::open(host.path()).unwrap();
    let codes_of = |policy: &Policy, platform: &str| {
        let question = Question {
            installation: Installation {
                state: &HostPath::default_state_directory(),
                patience: Duration::ZERO,
                verifier: Verifier {
                    policy,
                    name: None,
                    platform: &platform.parse().unwrap(),
                    now: SystemTime::UNIX_EPOCH,
                },
            },
            bundle: None,
            policy_directory: &HostPath::default_policy_directory(),
            directories: &[HostPath::default_bin_directory()],
            occasion: Occasion::Running,
            prober: None,
        };
        let report = check(&root, &question).unwrap();
        let no = report.findings.iter().any(|finding| finding.code != Code::VersionBelowFloor);
        assert_eq!(report.is_good(), !no);
        report.findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    let trusted = policy(&signer, "");
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::NotInstalled]);
    install(host.path(), &image, &trusted);
    assert_eq!(codes_of(&trusted, "linux/amd64"), []);
    // The bundle's version is 1.2.3: below a floor that came later, and still what the node keeps.
    assert_eq!(
        codes_of(&policy(&signer, "    minVersion: 2.0.0\n"), "linux/amd64"),
        [Code::VersionBelowFloor]
    );
    assert_eq!(
        codes_of(&policy(&other, ""), "linux/amd64"),
        [Code::NoLongerTrusted, Code::SignerNotAllowed]
    );
    let denied = policy(&signer, &format!("deny: [\"{}\"]\n", image.index_digest()));
    assert_eq!(codes_of(&denied, "linux/amd64"), [Code::NoLongerTrusted, Code::DeniedByRule]);
    assert_eq!(codes_of(&trusted, "linux/arm64"), [Code::NoLongerTrusted, Code::PlatformMissing]);

    let evidence = Digest::of(&image.evidence().to_bytes()).hex();
    let evidence = host.path().join(format!("var/lib/cnister/evidence/{evidence}.json"));
    // Good evidence of another bundle proves nothing about this one.
    let mut another = Image::of(&["linux/amd64"]);
    another.files(0)["version"] = "9.9.9".into();
    another.relink();
    another.sign(&signer, another.index_digest());
    std::fs::write(&evidence, another.evidence().to_bytes()).unwrap();
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::NoLongerTrusted, Code::NoEvidence]);
    std::fs::File::options().write(true).open(&evidence).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::NoLongerTrusted, Code::NoEvidence]);
    std::fs::remove_file(&evidence).unwrap();
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::NoLongerTrusted, Code::NoEvidence]);
    symlink("/dev/zero", &evidence).unwrap();
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::NoLongerTrusted, Code::NoEvidence]);
    std::fs::set_permissions(
        host.path().join("var/lib/cnister"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::StateNotPrivate]);
    std::fs::remove_dir_all(host.path().join("var/lib/cnister")).unwrap();
    assert_eq!(codes_of(&trusted, "linux/amd64"), [Code::RecordsLost]);
}

#[test]
fn a_bundle_other_than_the_expected_one_is_refused_by_receipt_and_evidence() {
    let mut node = Node::new();
    let (test, other) = ("test".parse().unwrap(), "other".parse().unwrap());
    let compared = |expected: &BundleName, node: &Node, verified: Option<&Verified<Bundle>>| {
        let finding = other_bundle(expected, &node.receipt, verified)?;
        assert_eq!((finding.code, finding.severity), (Code::OtherBundle, Severity::Refusal));
        Some((finding.expected.unwrap(), finding.found.unwrap()))
    };
    let mismatch = |expected: &str, found: &str| Some((expected.to_owned(), found.to_owned()));
    let verified = node.verified();
    assert_eq!(verified.value().files.name, test);
    for verified in [Some(&verified), None] {
        assert_eq!(compared(&test, &node, verified), None);
        assert_eq!(compared(&other, &node, verified), mismatch("other", "test"));
    }
    // A receipt that was changed hides nothing, and is not believed alone.
    node.receipt.bundle = other.clone();
    assert_eq!(compared(&test, &node, Some(&verified)), mismatch("test", "other"));
    assert_eq!(compared(&other, &node, Some(&verified)), mismatch("other", "test"));
    assert_eq!(compared(&test, &node, None), mismatch("test", "other"));
}

#[test]
fn at_boot_no_clock_decides() {
    let (signer, other) = (Signer::new(), Signer::new());
    let mut image = Image::of(&["linux/amd64"]);
    image.sign(&signer, image.index_digest());
    let host = tempfile::tempdir().unwrap();
    let root = Root::open(host.path()).unwrap();
    install(host.path(), &image, &policy(&signer, ""));
    let year = Duration::from_secs(365 * 24 * 3600);
    let mut answers = Vec::new();
    for now in [
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH + 56 * year,
        SystemTime::UNIX_EPOCH + 300 * year,
    ] {
        for policy in [policy(&signer, ""), policy(&other, ""), policy(&signer, &denying(&image))] {
            let question = Question {
                installation: Installation {
                    state: &HostPath::default_state_directory(),
                    patience: Duration::ZERO,
                    verifier: Verifier {
                        policy: &policy,
                        name: None,
                        platform: &"linux/amd64".parse().unwrap(),
                        now,
                    },
                },
                bundle: None,
                policy_directory: &HostPath::default_policy_directory(),
                directories: &[HostPath::default_bin_directory()],
                occasion: Occasion::Boot,
                prober: None,
            };
            let report = check(&root, &question).unwrap();
            answers.push((report.is_good(), report.findings));
        }
    }
    let [known, retired, denied] = &answers[..3] else { panic!("{answers:?}") };
    assert_eq!(
        (known.0, known.1.len(), retired.0, retired.1.len(), denied.0),
        (true, 0, true, 2, false)
    );
    assert_eq!(answers[..3], answers[3..6]);
    assert_eq!(answers[..3], answers[6..]);
}

fn denying(image: &Image) -> String {
    format!("deny: [\"{}\"]\n", image.index_digest())
}

#[test]
fn a_directory_that_cannot_be_read_is_a_finding_and_not_the_end() {
    let path: HostPath = BIN.parse().unwrap();
    let judged = |errno: rustix::io::Errno| {
        let (action, path_text) = ("read directory".to_owned(), BIN.to_owned());
        let error = DiskError::Io { action, path: path_text, source: errno.into() };
        not_observed(&path, error.into(), Occasion::Running)
    };
    for errno in [rustix::io::Errno::IO, rustix::io::Errno::ACCESS, rustix::io::Errno::STALE] {
        let (state, findings) = judged(errno).unwrap();
        let said: Vec<_> = findings.iter().map(|it| (it.code, it.severity)).collect();
        assert_eq!(
            (state, said),
            (FileState::Unreadable, vec![(Code::Unreadable, Severity::Refusal)])
        );
        assert!(findings[0].hint.is_some(), "{findings:?}");
    }
    // The reason is this process, and no other directory could be read either.
    for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NOMEM] {
        assert!(judged(errno).is_err());
    }
}
