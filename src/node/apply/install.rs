//! Installing a verified release: observe, plan, preflight, apply.
//!
//! The release was verified before it comes here; the caller found its evidence. What changes is
//! decided in `plan`, and the engine carries it out. A release that was rolled back on this node is
//! refused, so that an installer that starts again does not undo the rollback.

use oci_spec::image::Descriptor;

use super::action::Progress;
use super::bring::refuse;
use super::directory::check_originals;
use super::engine::{Applied, apply};
use super::preflight::{OTHER_DIRECTORIES, Records, preflight, state_obstacle, surroundings};
use super::records::{KeptPolicy, POLICY, Record};
use super::restore::Run;
use super::stage::compare;
use super::undo::go_back;
use crate::model::{BundleName, Code, Finding, HostPath, Repository};
use crate::node::boot;
use crate::node::error::NodeError;
use crate::node::fact::Moment;
use crate::node::host::{
    CacheDirectories, Observed, Root, attachments, check_apart, exposed_file, observe,
};
use crate::node::payload::{EncodedLayer, Layer, Payload, Staged};
use crate::node::plan::{InstallOptions, Leftovers, Plan, Step, plan};
use crate::node::state::{
    Installation, Journal, Purpose, Reading, Receipt, Release, RolledBack, State,
};
use crate::oci::Source;
use crate::trust::{Bundle, Evidence, Presence, Verified, Verifier};

/// What is installed, and where.
#[derive(Debug, Clone, Copy)]
pub struct InstallRequest<'a> {
    /// The release, as the policy accepted it.
    pub bundle: &'a Verified<Bundle>,
    /// What proves it, as the node keeps it.
    pub evidence: &'a [u8],
    /// Where the policy is kept.
    pub policy_directory: &'a HostPath,
    /// The plugin directories, as paths on the node.
    pub directories: &'a [HostPath],
    /// What the node's owner wants besides the bundle.
    pub options: &'a InstallOptions,
    /// How many generations the node keeps, including this one.
    pub generations: u8,
    /// Whether a release that was rolled back on this node may be installed.
    pub rolled_back: RolledBackRule,
    /// The installed bundle that may be replaced by one of another name or from another repository.
    pub replace: Option<&'a BundleName>,
}

/// What happens if the release was rolled back on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolledBackRule {
    /// A release that was rolled back is refused.
    Refuse,
    /// It is installed (`--again`).
    Install,
}

/// Where the plugins of a release come from.
pub enum Files {
    /// The plugin layer of an image, with the descriptor that this image has for it.
    Image(Box<dyn Source>, Box<Descriptor>),
    /// A staged directory or a mounted image.
    Staged(Staged),
}

/// What was installed.
#[derive(Debug)]
pub struct InstallOutcome {
    /// What was done, or would be done.
    pub steps: Vec<Step>,
    /// Notes on the steps.
    pub notes: Vec<Finding>,
    /// Warnings about the node: what preflight found, who else can change the plugins, and whether
    /// a boot checks this release.
    pub about_node: Vec<Finding>,
    /// Whether another release was installed before, or none.
    pub is_another_release: bool,
    /// Whether the node had another policy before, or none.
    pub is_policy_new: bool,
    /// Whether it finishes an installation that was interrupted.
    pub is_finished: bool,
}

/// Installs a release.
///
/// 1. Refuses directories that cannot be told apart.
/// 2. Fetches the layer of an image if the node does not have its plugins. That comes before the
///    lock, so that a slow registry keeps no check and no boot waiting, and after everything that
///    can be refused without the layer.
/// 3. Takes the lock, and observes, plans and looks ahead again.
/// 4. Applies the plan.
///
/// # Errors
/// Refused if the plan or the preflight says no, or if the files are not the signed ones; nothing
/// is changed then.
pub fn install(
    root: &Root,
    installation: &Installation<'_>,
    request: &InstallRequest<'_>,
    files: Files,
    run: Run,
    progress: Progress<'_>,
) -> Result<InstallOutcome, NodeError> {
    // 1.
    check_apart(root, installation.state, request.directories, [])
        .map_err(NodeError::before_changes)?;
    let attempt = Attempt { root, installation, request, spool: request.spool(&files) };
    // Where no record can be written, it ends like a run that is only planned.
    let obstacle = state_obstacle(root, installation.state);
    if run == Run::Plan || obstacle.is_some() {
        let prepared = attempt.plan(files).map_err(NodeError::before_changes)?;
        return match obstacle {
            Some(finding) => Err(finding.into()),
            None => Ok(attempt.finish(prepared)),
        };
    }
    // 2.
    let spool = attempt.open()?;
    let mut payload: Box<dyn Payload + '_> = match files {
        Files::Image(ref source, ref layer) => {
            Box::new(attempt.layer(source.as_ref(), layer, &spool)?)
        }
        Files::Staged(staged) => Box::new(staged),
    };
    // 3.
    let writing = attempt.open()?.write(installation.patience);
    let writing = writing.map_err(NodeError::before_changes)?;
    let prepared = attempt.prepare(Some(&writing)).map_err(NodeError::before_changes)?;
    // 4.
    let record = attempt.record(prepared.repository.as_ref());
    let applied = apply(root, &writing, &prepared.plan, payload.as_mut(), &record, progress);
    let Applied { receipt, warnings } = applied.map_err(|error| {
        go_back(root, &writing, &installation.verifier, request.directories, error)
    })?;
    let mut installed = attempt.finish(prepared);
    installed.about_node.extend(warnings);
    installed.about_node.extend(boot::outdated(root, &receipt));
    let policy = request.policy_directory.as_str();
    installed.about_node.extend(boot::exposed(root, Moment::Install));
    let path = format!("{policy}/{POLICY}");
    installed.about_node.extend(exposed_file(root, path, Moment::Install));
    Ok(installed)
}

impl InstallRequest<'_> {
    /// How much of the state directory's file system a layer takes while it is fetched. A layer
    /// that claims to be longer than its files is refused then.
    fn spool(&self, files: &Files) -> u64 {
        match files {
            Files::Image(_, layer) => layer.size().min(self.bundle.value().files.total_size()),
            Files::Staged(_) => 0,
        }
    }
}

/// One installation on one node.
struct Attempt<'a> {
    root: &'a Root,
    installation: &'a Installation<'a>,
    request: &'a InstallRequest<'a>,
    spool: u64,
}

/// A plan that nothing on the node refuses.
struct Prepared<'a> {
    plan: Plan<'a>,
    foreseen: Vec<Finding>,
    /// Where the receipt will say that the bundle is from.
    repository: Option<Repository>,
    is_another_release: bool,
    is_policy_new: bool,
}

impl<'a> Attempt<'a> {
    fn open(&self) -> Result<State, NodeError> {
        State::open_or_create(self.root, self.installation.state).map_err(NodeError::before_changes)
    }

    /// Prepares it without creating anything.
    fn plan(&self, files: Files) -> Result<Prepared<'a>, NodeError> {
        let state = State::open(self.root, self.installation.state)?;
        let reading = state.map(|state| state.read(self.installation.patience)).transpose()?;
        let prepared = self.prepare(reading.as_ref())?;
        let (state, plan) = (reading.as_ref(), &prepared.plan);
        match files {
            Files::Staged(mut staged) => compare(state, plan, Some(&mut staged))?,
            Files::Image(source, layer) if source.is_local() => {
                let bundle = self.request.bundle.value();
                let mut layer = EncodedLayer::new(source.as_ref(), &layer);
                // As in `layer`: it is read as a whole if the node lacks some of its plugins.
                if state.map_or(Ok(true), |state| is_news(state, bundle))? {
                    layer.check(&bundle.files)?;
                    compare(state, plan, None)?;
                } else {
                    compare(state, plan, Some(&mut layer))?;
                }
            }
            // What a registry has is not known without the download.
            Files::Image(..) => compare(state, plan, None)?,
        }
        Ok(prepared)
    }

    /// What the node keeps of it.
    fn record<'r>(&'r self, repository: Option<&'r Repository>) -> Record<'r> {
        let Self { installation, request, .. } = *self;
        let text = installation.verifier.policy.text();
        Record {
            evidence: request.evidence,
            policy: Some(KeptPolicy { text, directory: request.policy_directory }),
            generations: request.generations,
            repository,
            purpose: Purpose::Install,
            rollback: None,
        }
    }

    /// The plugin layer, fetched if the node does not have its plugins.
    fn layer<'s>(
        &self,
        source: &'s dyn Source,
        descriptor: &'s Descriptor,
        spool: &'s State,
    ) -> Result<Layer<'s>, NodeError> {
        let bundle = self.request.bundle.value();
        let mut layer = Layer::new(source, descriptor, spool.spool());
        let reading = self.open()?.read(self.installation.patience)?;
        if is_news(&reading, bundle)? {
            self.prepare(Some(&reading))?;
            drop(reading);
            layer.fetch(&bundle.files)?;
        }
        Ok(layer)
    }

    /// Observes the node, plans, and looks ahead. It changes nothing.
    fn prepare(&self, state: Option<&Reading>) -> Result<Prepared<'a>, NodeError> {
        let Self { root, installation, request, .. } = *self;
        let wanted = &request.bundle.value().files.plugins;
        let foreign = request.options.foreign_files();
        let mut observed = observe(root, state, request.directories, wanted, foreign)?;
        let recorded = observed.receipt.iter().flat_map(|receipt| receipt.directories.keys());
        check_apart(root, installation.state, request.directories, recorded)?;
        if request.options.leftovers == Leftovers::Prune {
            observed.in_use = attachments(root, &CacheDirectories::default())?;
            state.map_or(Ok(()), |state| observed.examine_originals(state))?;
        }
        let rolled_back = state.map(Reading::rolled_back).transpose()?.flatten();
        if let Some(record) = rolled_back.filter(|_| request.rolled_back == RolledBackRule::Refuse)
        {
            refuse_rolled_back(&record, request.bundle.value(), &observed)?;
        }
        if let Some(holder) = Holder::of(&observed) {
            let (name, bundle) = (installation.verifier.name, request.bundle.value());
            holder.refuse_takeover(bundle, name, request.replace)?;
        }
        let repository = match (installation.verifier.name, &observed.receipt) {
            (None, Some(receipt)) if request.replace != Some(&receipt.bundle) => {
                self.kept_repository(receipt)?
            }
            (name, _) => name.cloned(),
        };
        let plan = plan(request.bundle, &observed, request.options)?;
        if plan.leaves_nothing() {
            let message = "every plugin of the bundle is excluded, so nothing would be installed that could be checked";
            let hint = "skip fewer plugins, or remove the installed ones with `cnister uninstall`";
            return Err(Finding::refusal(Code::NothingWanted, message).hint(hint).into());
        }
        let records = Records {
            directory: installation.state,
            documents: (request.evidence.len() + installation.verifier.policy.text().len()) as u64,
            spool: self.spool,
        };
        let mut foreseen = preflight(root, &plan, state, &records, OTHER_DIRECTORIES);
        let kept = KeptPolicy {
            text: installation.verifier.policy.text(),
            directory: request.policy_directory,
        };
        let is_policy_new = !kept.is_kept(root)?;
        let of_policy = kept.obstacle(root).filter(|_| is_policy_new);
        let of_policy = of_policy.or_else(|| kept.unfinished(root));
        foreseen.splice(0..0, of_policy);
        if let Some(state) = state {
            foreseen.extend(self.record(repository.as_ref()).obstacles(state, &plan)?);
        }
        let mut foreseen = refuse(foreseen)?;
        if let Some(state) = state {
            check_originals(state, plan.steps())?;
        }
        foreseen.extend(observed.in_use.about(plan.notes()));
        let wanted = Release::of(request.bundle.value());
        let is_another_release =
            observed.receipt.is_none_or(|present| !present.release().is(&wanted));
        Ok(Prepared { plan, foreseen, repository, is_another_release, is_policy_new })
    }

    /// The repository of the installed bundle, if the release passes the rules for it as well.
    ///
    /// A layout or a staged directory has no name of its own. Were the name forgotten then, the
    /// next release could come from any repository.
    fn kept_repository(&self, receipt: &Receipt) -> Result<Option<Repository>, NodeError> {
        let Some(from) = &receipt.repository else { return Ok(None) };
        let wanted = Release::of(self.request.bundle.value());
        let presence = match receipt.release().is(&wanted) {
            true => Presence::Kept,
            false => Presence::New,
        };
        let verifier = Verifier { name: Some(from), ..self.installation.verifier };
        let evidence = Evidence::parse(self.request.evidence);
        let accepted = evidence.is_ok_and(|read| verifier.verify(&read, presence).is_ok());
        if accepted {
            return Ok(Some(from.clone()));
        }
        let installed = &receipt.bundle;
        let message = format!(
            "bundle `{installed}` was installed from a repository whose rule refuses this release"
        );
        let hint = format!(
            "to see why, run `cnister verify --as {from}` with the same image and policy; to replace the installed bundle, add --replace {installed}"
        );
        let finding = Finding::refusal(Code::OtherOrigin, message);
        Err(finding.mismatch(from, "no repository name").hint(hint).into())
    }

    fn finish(&self, prepared: Prepared<'_>) -> InstallOutcome {
        let Prepared { plan, foreseen, is_another_release, is_policy_new, .. } = prepared;
        let mut about_node = foreseen;
        about_node.extend(surroundings(self.root, &plan, self.installation.state));
        let (steps, notes) = (plan.steps().to_vec(), plan.notes().to_vec());
        let is_finished = plan.finishes();
        InstallOutcome { steps, notes, about_node, is_another_release, is_policy_new, is_finished }
    }
}

/// Whether it is another release than the installed one, and the node lacks some of its plugins.
/// Only the moment when the layer is fetched depends on this.
fn is_news(reading: &Reading, bundle: &Bundle) -> Result<bool, NodeError> {
    let wanted = Release::of(bundle);
    if reading.receipt().ok().flatten().is_some_and(|receipt| receipt.release().is(&wanted)) {
        return Ok(false);
    }
    let files = bundle.files.plugins.iter().map(|file| (file.digest, file.size, &file.name));
    Ok(!reading.without_copy(files)?.is_empty())
}

/// The bundle whose place an installation would take: the installed one, or without a receipt the
/// one whose installation was interrupted, since its plugins may be in use.
struct Holder<'a> {
    bundle: &'a BundleName,
    repository: Option<&'a Repository>,
    is_installed: bool,
}

impl<'a> Holder<'a> {
    /// `None` if there is none, or an earlier version of this program did not name it.
    fn of(observed: &'a Observed) -> Option<Self> {
        if let Some(Receipt { bundle, repository, .. }) = &observed.receipt {
            return Some(Self { bundle, repository: repository.as_ref(), is_installed: true });
        }
        let Journal { bundle, repository, .. } = observed.journal.as_ref()?;
        let bundle = bundle.as_ref()?;
        Some(Self { bundle, repository: repository.as_ref(), is_installed: false })
    }

    /// Refuses a bundle of another name, and one of this name from another repository: every signer
    /// that the policy allows could take the place of the installed bundle, its policy and its
    /// plugins.
    fn refuse_takeover(
        &self,
        wanted: &Bundle,
        name: Option<&Repository>,
        replace: Option<&BundleName>,
    ) -> Result<(), Finding> {
        let Self { bundle, is_installed, .. } = *self;
        if replace == Some(bundle) {
            return Ok(());
        }
        let hint = format!("to replace it, add --replace {bundle}");
        if wanted.files.name != *bundle {
            let message = match is_installed {
                true => "another bundle is installed, and a node can have only one",
                false => {
                    "the installation of another bundle was interrupted, and a node can have only one"
                }
            };
            let finding = Finding::refusal(Code::OtherBundle, message);
            return Err(finding.mismatch(bundle, &wanted.files.name).hint(hint));
        }
        match (self.repository, name) {
            (Some(from), Some(name)) if from != name => {
                let message = match is_installed {
                    true => format!("bundle `{bundle}` was installed from another repository"),
                    false => format!(
                        "an installation of bundle `{bundle}` from another repository was interrupted"
                    ),
                };
                Err(Finding::refusal(Code::OtherOrigin, message).mismatch(from, name).hint(hint))
            }
            // A layout or a staged directory has no name of its own.
            _ => Ok(()),
        }
    }
}

/// Refuses a release that was rolled back, unless it is installed again by now.
fn refuse_rolled_back(
    record: &RolledBack,
    bundle: &Bundle,
    observed: &Observed,
) -> Result<(), Finding> {
    let Bundle { index, files, .. } = bundle;
    let wanted = Release::of(bundle);
    let present = observed.receipt.as_ref().map(Receipt::release);
    if !record.releases.contains(&wanted) || present.is_some_and(|present| present.is(&wanted)) {
        return Ok(());
    }
    let message = format!("{} {} was rolled back on this node", files.name, files.version);
    let finding = Finding::refusal(Code::RolledBack, message)
        .hint("install a different release, or this one with --again");
    Err(match present {
        Some(present) => finding.mismatch(
            format_args!("any release but {index}"),
            format_args!("{} is installed", present.index),
        ),
        None => finding,
    })
}
