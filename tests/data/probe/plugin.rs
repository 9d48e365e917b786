//! A plugin that does what the last line of its own file says, so that one program serves many
//! tests. Compiled by `tests/probe.rs`.

use std::io::{Read, Write};

fn main() {
    let program = std::fs::read("/proc/self/exe").expect("a program can read itself");
    let behaviour = program.rsplit(|byte| *byte == b'\n').next().expect("at least one line");
    let mut input = String::new();
    match behaviour {
        b"answer" => print!(r#"{{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}}"#),
        b"situation" => {
            std::io::stdin().read_to_string(&mut input).expect("a request");
            let variables: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            let status = std::fs::read_to_string("/proc/self/status").expect("a status");
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
                line.split_whitespace().nth(1).unwrap_or_default().to_owned()
            };
            let denied = |result: std::io::Result<()>| match result {
                Ok(()) => "allowed".to_owned(),
                Err(error) => format!("{:?}", error.raw_os_error()),
            };
            let socket = denied(std::net::UdpSocket::bind("127.0.0.1:0").map(drop));
            let pair = denied(std::os::unix::net::UnixStream::pair().map(drop));
            let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
            let facts = [
                input,
                variables.join(" "),
                format!("uid={}", field("Uid:")),
                format!("nnp={}", field("NoNewPrivs:")),
                format!("seccomp={}", field("Seccomp:")),
                format!("socket={socket} pair={pair}"),
                format!("descriptors={descriptors}"),
            ];
            // Hexadecimal digits serve as version numbers.
            let versions: Vec<_> = facts
                .join("\n")
                .as_bytes()
                .chunks(16)
                .map(|chunk| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
                .map(|text| format!("\"{text}\""))
                .collect();
            print!(r#"{{"cniVersion":"1.0.0","supportedVersions":[{}]}}"#, versions.join(","));
        }
        b"flood" => loop {
            if std::io::stdout().write_all(&[b'x'; 4096]).is_err() {
                return;
            }
        },
        b"hang" => std::thread::sleep(std::time::Duration::from_secs(600)),
        b"close and hang" => {
            use std::os::unix::process::CommandExt;
            // Opening a file for writing is refused; standard error is /dev/null already.
            let nowhere = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned().expect("a descriptor");
            let error = std::process::Command::new("sleep").arg("600").stdout(nowhere).exec();
            panic!("{error}");
        }
        b"misuse" => {
            use std::fs;
            use std::os::unix::fs::{PermissionsExt, symlink};
            let at = "/dev/shm/cnister-probe-misuse";
            let errno = |result: std::io::Result<()>| match result {
                Ok(()) => "0".to_owned(),
                Err(error) => error.raw_os_error().unwrap_or(-1).to_string(),
            };
            let tried = [
                ("create", fs::File::create(format!("{at}/new")).map(drop)),
                ("truncate", fs::File::options().write(true).truncate(true).open(format!("{at}/file")).map(drop)),
                ("remove", fs::remove_file(format!("{at}/file"))),
                ("rename", fs::rename(format!("{at}/file"), format!("{at}/other"))),
                ("link", symlink("/", format!("{at}/link"))),
                ("directory", fs::create_dir(format!("{at}/directory"))),
                ("mode", fs::set_permissions(format!("{at}/file"), fs::Permissions::from_mode(0o777))),
                ("process", std::process::Command::new("/bin/true").spawn().map(drop)),
                ("thread", std::thread::Builder::new().spawn(|| ()).map(drop)),
                ("read", fs::read("/proc/self/status").map(drop)),
            ];
            let facts: Vec<_> =
                tried.into_iter().map(|(what, result)| format!("\"{what}-{}\"", errno(result))).collect();
            print!(r#"{{"cniVersion":"1.0.0","supportedVersions":[{}]}}"#, facts.join(","));
        }
        b"write" => drop(std::fs::write("/dev/shm/cnister-probe-canary", b"x")),
        b"fail" => std::process::exit(7),
        b"abort" => std::process::abort(),
        other => panic!("{other:?}"),
    }
}
