//! What a test installs: a bundle, its signature, the tool image, and the DaemonSet rendered for
//! them.

use std::fs;
use std::path::Path;

use crate::daemonset::{self, DaemonSet};
use crate::peers;
use crate::rig::Rig;
use crate::support::{self, Scene};

/// The names of the images, as the program writes them into layouts.
const BUNDLE: &str = "localhost/test";
const TOOL: &str = concat!("localhost/cnister:", env!("CARGO_PKG_VERSION"));

const POLICY: &str = "\
apiVersion: cnister.dev/v1
kind: Policy
rules:
  - name: test
    images: [localhost/test]
    authorities: [{name: test, key: {file: cosign.pub}}]
";

pub(crate) struct Release {
    scene: Scene,
    version: &'static str,
}

impl Release {
    /// Returns whether the node build is available.
    pub(crate) fn possible() -> bool {
        support::node_binary().is_some()
    }

    /// Builds and signs a bundle of `macvlan`, and builds the tool image.
    pub(crate) fn new() -> Self {
        let scene = Scene::new();
        let node = support::node_binary().expect("`possible` said so");
        scene.write("policy.yaml", POLICY);
        scene.run_ok("keygen");
        scene.run_ok(&format!("tool-image -o tool --tool {}", node.display()));
        let release = Self { scene, version: "1.0.0" };
        release.build(&["macvlan"]);
        release
    }

    /// Builds and signs the next version, which also contains `bridge`.
    pub(crate) fn next(self) -> Self {
        let next = Self { version: "1.1.0", ..self };
        next.build(&["macvlan", "bridge"]);
        next
    }

    fn build(&self, plugins: &[&str]) {
        let Self { scene, version } = self;
        let node = support::node_binary().expect("`possible` said so");
        for plugin in plugins {
            scene.write(&format!("plugins/{plugin}"), peers::plugin(plugin));
        }
        let platform = cnister::model::Platform::host();
        scene.write(
            "bundle.yaml",
            format!(
                "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: {version}\nplatforms: [{platform}]\n\
                 sources: [{{name: here, directory: plugins}}]\nplugins: [{}]\n",
                plugins.join(", ")
            ),
        );
        scene.run_ok(&format!("build bundle.yaml -o bundle --tool {}", node.display()));
        scene.run_ok(&format!("sign --key cosign.key oci:bundle:{version} --as {BUNDLE}"));
    }

    /// Renders the DaemonSet with a long interval: a test waits only for the first check.
    fn render(&self) -> DaemonSet {
        let tool = support::digest_of(&self.scene.run_ok("inspect oci:tool"));
        let words = format!(
            "render oci:bundle:{} --as {BUNDLE} --policy policy.yaml --tool-image {TOOL}@{tool} --interval 1h",
            self.version
        );
        daemonset::parse(&self.scene.run_ok(&words).stdout)
    }

    /// Imports the images on a node and returns the DaemonSet that uses them.
    pub(crate) fn bring_to(&self, rig: &Rig) -> DaemonSet {
        for (reference, name) in
            [(format!("bundle:{}", self.version), BUNDLE), ("tool".to_owned(), "localhost/cnister")]
        {
            let archive = self.scene.at("image.tar");
            self.scene.run_ok(&format!("pull oci:{reference} -o oci-archive:image.tar"));
            rig.import(&archive, name);
            fs::remove_file(archive).expect("can remove an archive");
        }
        self.render()
    }

    /// Returns the same policy with a key that did not sign anything.
    pub(crate) fn policy_of_another_key(&self) -> String {
        self.scene.run_ok("keygen --output-key-prefix other");
        let pem = fs::read_to_string(self.scene.at("other.pub")).expect("can read a key");
        POLICY.replace("file: cosign.pub", &format!("data: {}", serde_json::Value::from(pem)))
    }

    /// Installs from the layout onto a root, as a boot unit does, and returns exit code and output.
    pub(crate) fn install_on(&self, root: &Path) -> support::Run {
        self.scene.run(&format!(
            "install oci:bundle:{} --as {BUNDLE} --policy policy.yaml --root {}",
            self.version,
            root.display()
        ))
    }
}
