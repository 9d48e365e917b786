//! Signed releases of handmade plugins. They need neither peers nor the node build, and run in
//! milliseconds.

use std::collections::BTreeMap;
use std::fs;

use super::Scene;
use super::forge::Forge;
use super::plugin::answering;

/// A release in a scene: `oci:layout-NAME`, `evidence-NAME.json`, and `staged-NAME`, filled as by
/// its own container.
pub struct Release {
    pub name: &'static str,
    pub files: BTreeMap<&'static str, Vec<u8>>,
}

impl Release {
    /// Builds and signs a release of plugins with these names, each of `size` bytes or a few
    /// hundred.
    pub fn new(
        scene: &Scene,
        name: &'static str,
        version: &str,
        plugins: &[&'static str],
        size: usize,
    ) -> Self {
        Self::unsigned(scene, name, version, plugins, size).signed(scene)
    }

    /// Builds and signs a release of another bundle than `test`.
    pub fn named(
        scene: &Scene,
        bundle: &str,
        name: &'static str,
        version: &str,
        plugins: &[&'static str],
    ) -> Self {
        Self::built(scene, bundle, name, version, plugins, 0).signed(scene)
    }

    fn signed(self, scene: &Scene) -> Self {
        let name = self.name;
        if !scene.at("cosign.key").exists() {
            scene.run_ok("keygen");
        }
        scene.run_ok(&format!("sign --key cosign.key oci:layout-{name}"));
        scene.run_ok(&format!("evidence oci:layout-{name} -o evidence-{name}.json"));
        self
    }

    /// The same without signature and evidence.
    pub fn unsigned(
        scene: &Scene,
        name: &'static str,
        version: &str,
        plugins: &[&'static str],
        size: usize,
    ) -> Self {
        Self::built(scene, "test", name, version, plugins, size)
    }

    fn built(
        scene: &Scene,
        bundle: &str,
        name: &'static str,
        version: &str,
        plugins: &[&'static str],
        size: usize,
    ) -> Self {
        let files: BTreeMap<_, _> = plugins
            .iter()
            .map(|plugin| (*plugin, answering(&format!("{plugin} of {name}"), size)))
            .collect();
        for (plugin, bytes) in &files {
            scene.write(&format!("plugins-{name}/{plugin}"), bytes);
            scene.write(&format!("image-{name}/opt/cni/bin/{plugin}"), bytes);
        }
        scene.write(
            &format!("bundle-{name}.yaml"),
            format!(
                "apiVersion: cnister.dev/v1\nkind: Bundle\nname: {bundle}\nversion: {version}\nplatforms: [linux/amd64]\n\
                 sources: [{{name: here, directory: plugins-{name}}}]\nplugins: [{}]\ntool: none\n",
                plugins.join(", ")
            ),
        );
        scene.run_ok(&format!("build bundle-{name}.yaml -o layout-{name}"));
        let forge = Forge::new(scene.at(&format!("layout-{name}")));
        let manifest = forge.read(
            forge.read(&forge.tagged())["manifests"][0]["digest"].as_str().expect("a digest"),
        );
        let text = manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"]
            .as_str()
            .expect("bundle.json");
        scene.write(&format!("image-{name}/usr/share/cnister/bundle.json"), text);
        fs::create_dir(scene.at(&format!("staged-{name}"))).expect("a folder");
        scene.run_ok(&format!("stage --image image-{name} staged-{name}"));
        Self { name, files }
    }

    /// Returns the arguments that install it from its layout.
    pub fn install_from_layout_args(&self) -> String {
        format!("install --key cosign.pub --root root oci:layout-{}", self.name)
    }

    /// Returns the arguments that install it from its staged directory.
    pub fn install_args(&self) -> String {
        let name = self.name;
        format!(
            "install --key cosign.pub --root root --from staged-{name} --evidence evidence-{name}.json"
        )
    }
}
