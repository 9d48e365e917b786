//! A container of a pod, with as few rights as possible.

use std::fmt::Write;

use super::{PinnedImage, yaml};

/// A container of the pod.
pub(super) struct Container<'a> {
    pub(super) name: &'static str,
    pub(super) image: &'a PinnedImage,
    pub(super) arguments: Vec<String>,
    pub(super) user: u32,
    /// Further fields, each an indented line with its line feed.
    pub(super) extra: String,
    pub(super) mounts: Vec<Mount>,
}

pub(super) struct Mount {
    volume: &'static str,
    path: String,
    readonly: bool,
    file: Option<&'static str>,
}

impl Mount {
    pub(super) fn writable(volume: &'static str, path: &str) -> Self {
        Self { volume, path: path.to_owned(), readonly: false, file: None }
    }

    pub(super) fn readonly(volume: &'static str, path: &str) -> Self {
        Self { volume, path: path.to_owned(), readonly: true, file: None }
    }

    /// Mounts one file of a volume as it was when the container started: a kubelet does not replace
    /// a `subPath` mount when the ConfigMap changes.
    pub(super) fn file(volume: &'static str, path: &str, file: &'static str) -> Self {
        Self { volume, path: path.to_owned(), readonly: true, file: Some(file) }
    }
}

impl Container<'_> {
    pub(super) fn to_yaml(&self) -> String {
        let Self { name, image, arguments, user, extra, mounts } = self;
        let mut out = format!(
            "        - name: {name}
          image: {image}
          imagePullPolicy: IfNotPresent
          args:
",
            image = yaml::quoted(&image.to_string()),
        );
        for argument in arguments {
            // A kubelet replaces `$(NAME)` in arguments, and reads `$$` as `$`.
            line(
                &mut out,
                format_args!("            - {}", yaml::quoted(&argument.replace('$', "$$"))),
            );
        }
        // Requests equal limits in every container: the pod's QoS class is Guaranteed, and it is
        // killed last if a node runs out of memory.
        out.push_str(
            "          resources:
            requests: {cpu: 100m, memory: 32Mi}
            limits: {cpu: 100m, memory: 32Mi}
          terminationMessagePolicy: FallbackToLogsOnError
          securityContext:
",
        );
        line(
            &mut out,
            format_args!("            runAsUser: {user}\n            runAsGroup: {user}"),
        );
        // With SELinux enabled, the default type of a container may not write to the node's
        // directories; this type may.
        out.push_str(match user {
            0 => "            seLinuxOptions: {type: spc_t}\n",
            _ => "            runAsNonRoot: true\n",
        });
        out.push_str(
            "            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
            seccompProfile:
              type: RuntimeDefault
",
        );
        out.push_str(extra);
        out.push_str("          volumeMounts:\n");
        for Mount { volume, path, readonly, file } in mounts {
            line(
                &mut out,
                format_args!(
                    "            - name: {volume}\n              mountPath: {}",
                    yaml::quoted(path)
                ),
            );
            if let Some(file) = file {
                line(&mut out, format_args!("              subPath: {file}"));
            }
            if *readonly {
                line(&mut out, format_args!("              readOnly: true"));
            }
        }
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}
