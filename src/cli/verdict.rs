//! The verdict of a policy on an image, platform by platform, for `verify` and `report`.

use std::time::SystemTime;

use super::image::{self, Image, OwnerArguments};
use crate::model::{Finding, Platform, Reference};
use crate::oci::{CollectError, Platforms, collect};
use crate::trust::{self, Bundle, Evidence, Policy, Presence, Verified, Verifier};

/// The verdict of a policy on one platform.
pub(super) struct Verdict {
    pub(super) platform: Platform,
    /// What was verified; `None` if the policy refuses it.
    pub(super) bundle: Option<Verified<Bundle>>,
    /// Why it is refused, and what else has to be said about it.
    pub(super) findings: Vec<Finding>,
}

impl Verdict {
    /// What is allowed: it was verified, and no finding refuses it.
    pub(super) fn allowed(&self) -> Option<&Verified<Bundle>> {
        self.bundle.as_ref().filter(|_| !self.findings.iter().any(Finding::is_refusal))
    }
}

/// Collects the evidence of an image and judges this platform, or all that the index lists.
pub(super) fn judge(
    opened: &Image,
    reference: &Reference,
    policy: &Policy,
    owner: &OwnerArguments,
    platform: Option<&Platform>,
) -> Result<(Evidence, Vec<Verdict>), CollectError> {
    let name = owner.name(Some(reference));
    let needs = policy.needs(name.as_ref());
    let wanted = Platforms::requested(platform);
    let evidence = collect(opened.source.as_ref(), &opened.root, wanted, &needs)?;
    let mut platforms = match platform {
        Some(platform) => vec![platform.clone()],
        None => image::platforms(&opened.root),
    };
    if platforms.is_empty() {
        // A single manifest, or an index without known platforms: verification says what is wrong.
        platforms.push(Platform::host());
    }
    let verdicts = platforms.into_iter().map(|platform| {
        let now = SystemTime::now();
        let verifier = Verifier { policy, name: name.as_ref(), platform: &platform, now };
        let (bundle, findings) = match verifier.verify(&evidence, Presence::New) {
            Ok(bundle) => {
                let pinned = owner.expect.as_ref();
                let other = pinned.and_then(|pin| trust::compare_with_pin(&bundle, pin));
                let findings = other.into_iter().chain(bundle.proof().warning()).collect();
                (Some(bundle), findings)
            }
            Err(rejection) => (None, rejection.findings),
        };
        Verdict { platform, bundle, findings }
    });
    let verdicts = verdicts.collect();
    Ok((evidence, verdicts))
}
