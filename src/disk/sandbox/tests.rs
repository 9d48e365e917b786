use std::fs;
use std::io::{self, ErrorKind};

use super::*;

/// What a thread that is confined like this may do; `None` if this kernel cannot confine.
fn confined<T: Send>(sandbox: Sandbox, act: impl FnOnce() -> T + Send) -> Option<T> {
    let confined = move || sandbox.confine().is_none().then(act);
    std::thread::scope(|scope| scope.spawn(confined).join().unwrap())
}

fn denied<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(
        result.map_err(|error| error.kind()).expect_err("it is allowed"),
        ErrorKind::PermissionDenied
    );
}

#[test]
fn what_was_not_asked_for_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["opt/cni/bin", "var/lib/cnister", "etc/other"] {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("file"), b"content").unwrap();
    }
    let root = Root::open(folder.path()).unwrap();
    let mut sandbox = Sandbox::default();
    sandbox.write_on(&root, &HostPath::default_bin_directory());
    sandbox.move_files();
    let seen = confined(sandbox, || {
        // Written: files and directories, moved between them.
        let bin = at("opt/cni/bin");
        fs::create_dir(bin.join("staging")).unwrap();
        fs::write(bin.join("staging/new"), b"new").unwrap();
        fs::rename(bin.join("staging/new"), bin.join("file")).unwrap();
        fs::remove_dir(bin.join("staging")).unwrap();
        denied(std::os::unix::fs::symlink("file", bin.join("link")));
        // Read.
        assert_eq!(fs::read(at("var/lib/cnister/file")).unwrap(), b"content");
        denied(fs::write(at("var/lib/cnister/file"), b""));
        denied(fs::remove_file(at("var/lib/cnister/file")));
        denied(fs::write(at("var/lib/cnister/new"), b""));
        assert_eq!(fs::read(at("etc/other/file")).unwrap(), b"content");
        denied(fs::write(at("etc/other/file"), b""));
        denied(fs::rename(bin.join("file"), at("etc/other/file")));
        denied(fs::remove_file(at("etc/other/file")));
        denied(std::process::Command::new("/bin/true").status());
        std::thread::scope(|scope| {
            scope.spawn(|| denied(fs::write(at("etc/other/file"), b""))).join().unwrap()
        });
        true
    });
    assert_eq!(seen, Some(true), "this kernel has no Landlock");
    assert_eq!(fs::read(at("opt/cni/bin/file")).unwrap(), b"new");
    // The twin: the thread alone was confined.
    fs::write(at("etc/other/file"), b"").unwrap();
}

#[test]
fn a_link_is_no_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), b"content").unwrap();
    fs::create_dir_all(folder.path().join("opt/cni")).unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("opt/cni/bin")).unwrap();
    // The root is no `/`, so the link is refused, and no right is given to where it leads.
    let root = Root::open(folder.path()).unwrap();
    let mut sandbox = Sandbox::default();
    sandbox.write_on(&root, &HostPath::default_bin_directory());
    assert_eq!(confined(sandbox, || denied(fs::write(outside.path().join("file"), b""))), Some(()));
}

#[test]
fn what_has_to_be_created_is_created_in_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("opt")).unwrap();
    fs::create_dir_all(folder.path().join("var/lib")).unwrap();
    let root = Root::open(folder.path()).unwrap();
    let mut sandbox = Sandbox::default();
    sandbox.write_on(&root, &HostPath::default_bin_directory());
    let seen = confined(sandbox, || {
        let (created, paths) =
            root.directory_or_create(&HostPath::default_bin_directory(), 0o755).unwrap();
        assert_eq!(paths.len(), 2);
        created.write_atomic("file", b"content", 0o755).unwrap();
        root.directory_or_create(&HostPath::default_state_directory(), 0o700)
            .map(drop)
            .unwrap_err()
            .to_string()
    });
    let expected = format!("cannot create directory `{}/var/lib/cnister`", folder.path().display());
    assert_eq!(seen, Some(expected));
}

#[test]
fn without_a_record_only_the_state_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("var/lib/cnister")).unwrap();
    fs::create_dir_all(folder.path().join("opt/cni/bin")).unwrap();
    let root = Root::open(folder.path()).unwrap();
    let mut sandbox = Sandbox::default();
    let state = HostPath::default_state_directory();
    sandbox.write_and_move(&root, [&state]);
    assert!(sandbox.moves);
    let seen = confined(sandbox, || {
        fs::write(folder.path().join("var/lib/cnister/new"), b"").unwrap();
        denied(fs::write(folder.path().join("opt/cni/bin/new"), b""));
    });
    assert_eq!(seen, Some(()));
}

#[test]
fn knows_what_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("opt/cni/bin")).unwrap();
    let root = Root::open(folder.path()).unwrap();
    let (bin, state) = (HostPath::default_bin_directory(), HostPath::default_state_directory());
    let mut sandbox = Sandbox::default();
    sandbox.write_existing(&root, &bin);
    sandbox.write_existing(&root, &state);
    let lacks = || [&bin, &state].map(|path| Sandbox::lacks(&root, path));
    let seen = confined(sandbox, lacks);
    assert_eq!(seen, Some([false, true]));
    fs::rename(folder.path().join("opt/cni/bin"), folder.path().join("moved")).unwrap();
    fs::create_dir(folder.path().join("opt/cni/bin")).unwrap();
    // The twin: what is not confined has given up nothing, whether it exists or not.
    assert_eq!(lacks(), [false, false]);
    let empty = |path: &str| fs::read_dir(folder.path().join(path)).unwrap().count() == 0;
    assert!(empty("opt/cni/bin") && empty("moved"), "asking leaves nothing");
}

#[test]
fn only_who_asks_for_it_connects_or_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = move || std::net::TcpStream::connect(address).map(drop);
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").map(drop);
    let act = move || (connect(), listen());
    let mut sandbox = Sandbox::default();
    sandbox.connect();
    let (connected, listening) = confined(sandbox, act).unwrap();
    assert!(connected.is_ok());
    // Linux 6.7; before, the network is as it was.
    let kernel_has_it = listening.is_err();
    let mut sandbox = Sandbox::default();
    sandbox.listen();
    let (connected, listening) = confined(sandbox, act).unwrap();
    assert!(listening.is_ok());
    assert_eq!(connected.is_err(), kernel_has_it);
    let (connected, listening) = confined(Sandbox::default(), act).unwrap();
    for result in [connected, listening] {
        assert_eq!(
            result.map_err(|error| error.kind()).err(),
            kernel_has_it.then_some(ErrorKind::PermissionDenied)
        );
    }
}
