//! Plugins that were compiled from a Go module connect a pod.

use std::fs;

use crate::namespace::{host_network, write_plugin};
use crate::netns::PodNetwork;
use crate::support::{Scene, source};

#[test]
fn a_pod_is_connected_by_plugins_that_were_compiled_from_source() {
    if !PodNetwork::possible() || std::env::consts::ARCH != "x86_64" {
        return;
    }
    let Some(proxy) = source::proxy() else { return };
    let scene = Scene::new();
    source::put(&scene, &["linux/amd64"], &["macvlan", "static"]);
    source::new_cache(&scene, "cache");
    scene.run_ok(&format!("build bundle.yaml -o layout --cache-dir cache --goproxy {proxy}"));
    let host = host_network();
    let pod = PodNetwork::start();
    let bin = pod.namespace().node("/opt/cni/bin");
    fs::remove_file(bin.join("static")).expect("the node's own plugin is there");
    for plugin in ["macvlan", "static"] {
        let program = source::program(&scene, "cache", "linux/amd64", plugin);
        write_plugin(&bin.join(plugin), &fs::read(program).expect("a program"), 0o755);
    }
    let network = PodNetwork::macvlan();
    let result = pod.add(&network).expect("the plugins work");
    assert_eq!(result["ips"][0]["address"], "10.99.0.2/24");
    assert_eq!(pod.interfaces(), ["net1 macvlan 10.99.0.2"]);
    pod.delete(&network).expect("the plugins work");
    assert_eq!(pod.interfaces(), [""; 0]);
    assert_eq!(pod.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(host_network(), host);
}
