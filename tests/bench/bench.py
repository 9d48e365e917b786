#!/usr/bin/env python3
"""Runs each row with its peer, in turn, in one run, and writes what was seen.

Time is what the kernel charged to the command and everything it started (wait4); peak memory is what GNU time reports,
because a child starts with its parent's peak and GNU time is small. Nothing here is asserted: a row is a measurement.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("ROUNDS", "7"))
CNISTER = os.environ["CNISTER"]
NODE = os.environ["CNISTER_NODE_BINARY"]
PEERS = os.environ["CNISTER_PEERS"]
HERE = os.path.dirname(os.path.abspath(__file__))


def measure(script, folder):
    """One run of a shell script: CPU and wall seconds, peak KiB."""
    peak = os.path.join(folder, "peak")
    # GNU time between us and the shell: the shell would otherwise start with the peak of this interpreter.
    command = ["time", "-q", "-o", peak, "-f", "%M", "sh", "-ec", script]
    started = time.monotonic()
    with open(os.path.join(folder, "log"), "wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    if status != 0:
        with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
            sys.exit(f"failed: {script}\n{log.read()}")
    with open(peak, encoding="ascii") as file:
        kib = int(file.read().split()[-1])
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "peak": kib}


def tree_bytes(path):
    """The bytes of all files below a path, or of a file."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(path) for name in names)


class Row:
    """A piece of work, ours and the peers', each a shell script with what is made ready before and measured after."""

    def __init__(self, work, sides, ready="", result=None):
        self.work, self.sides, self.ready, self.result = work, sides, ready, result

    def run(self, folder):
        """All sides in turn, so that whatever else the machine does meets all of them."""
        seen = {name: [] for name in self.sides}
        sizes = {}
        for number in range(ROUNDS + 1):
            for name, script in self.sides.items():
                if self.ready:
                    subprocess.run(["sh", "-ec", self.ready], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                figures = measure(script, folder)
                if number > 0:  # the first round warms the caches
                    seen[name].append(figures)
                if self.result:
                    sizes[name] = tree_bytes(os.path.join(folder, self.result))
        return self.report(seen, sizes)

    def report(self, seen, sizes):
        """Medians of each side, and the ratio to ours."""
        medians = {
            name: {key: statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "peak")}
            for name, runs in seen.items()
        }
        for name, size in sizes.items():
            medians[name]["bytes"] = size
        ours = medians["cnister"]
        return [
            {
                "work": self.work,
                "peer": name,
                "rounds": ROUNDS,
                "ours": ours,
                "theirs": theirs,
                "ratio": {key: ours[key] / theirs[key] for key in ours if theirs.get(key)},
            }
            for name, theirs in medians.items()
            if name != "cnister"
        ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def registry(folder):
    """A registry on loopback, ended by its handle."""
    port = free_port()
    config = os.path.join(folder, "registry.yml")
    with open(config, "w", encoding="ascii") as file:
        file.write(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
        )
    server = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, f"127.0.0.1:{port}"
        time.sleep(0.05)
    server.kill()
    sys.exit("docker-registry does not answer")


def rows(folder, host):
    """The rows, and what they need made ready once."""
    plugins = f"{PEERS}/plugins"
    definition = f"{HERE}/upstream.yaml"
    build = f"{CNISTER} build {definition} --directory upstream={plugins} --tool {NODE} -o"
    subprocess.run(
        [
            "sh",
            "-ec",
            f"""
            {build} signed
            {CNISTER} keygen
            {CNISTER} sign --key cosign.key oci:signed
            {CNISTER} push oci:signed {host}/cni/upstream:1.9.1
            mkdir root
            {CNISTER} install --key cosign.pub --root root oci:signed
            """,
        ],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with open(f"{folder}/Containerfile", "w", encoding="ascii") as file:
        file.write("FROM scratch\nCOPY . /opt/cni/bin/\n")
    buildah = f"buildah --root {folder}/buildah --runroot {folder}/buildah-run --storage-driver vfs"
    yield Row(
        "compose the 18 upstream plugins into a layout",
        {
            "cnister": f"{build} out",
            "umoci insert": f"umoci init --layout out; umoci new --image out:v1; umoci insert --image out:v1 {plugins} /opt/cni/bin",
            "buildah bud": f"{buildah} bud -q --isolation chroot --layers=false -f Containerfile -t v1 {plugins}; {buildah} push -q v1 oci:out:v1",
        },
        ready="rm -rf out buildah buildah-run",
        result="out",
    )
    yield Row(
        "check the installed set, proof and VERSION",
        {"cnister": f"{NODE} check --root root", "sha256sum": "sha256sum root/opt/cni/bin/*"},
    )
    yield Row(
        "the same without asking for VERSION",
        {"cnister": f"{NODE} check --no-probe --root root", "sha256sum": "sha256sum root/opt/cni/bin/*"},
    )
    image = f"{host}/cni/upstream:1.9.1"
    yield Row(
        "verify an image in a registry, layers read",
        {
            "cnister": f"{NODE} verify --key cosign.pub {image}",
            "cosign verify": f"cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry {image}",
        },
    )
    yield Row(
        "the same without its layers, as cosign does",
        {
            "cnister": f"{NODE} verify --no-layers --key cosign.pub {image}",
            "cosign verify": f"cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry {image}",
        },
    )


def sizes():
    """The size of the program beside those that do parts of its work."""
    ours = os.path.getsize(NODE)
    for peer in ("cosign", "crane", "oras"):
        theirs = os.path.getsize(f"{PEERS}/bin/{peer}")
        yield {
            "work": "size of the program",
            "peer": peer,
            "rounds": 1,
            "ours": {"bytes": ours},
            "theirs": {"bytes": theirs},
            "ratio": {"bytes": ours / theirs},
        }


def table(found):
    """What was seen, for people."""
    print(f"{'work':<46} {'peer':<14} {'CPU s':>15} {'wall s':>15} {'peak MiB':>13} {'MB':>13}  ratio of CPU, wall, peak, bytes")
    for row in found:
        def pair(key, scale, digits):
            if key not in row["ours"]:
                return ""
            return f"{row['ours'][key] / scale:.{digits}f} / {row['theirs'][key] / scale:.{digits}f}"

        ratios = ", ".join(
            f"{row['ratio'][key]:.2f}" if key in row["ratio"] else "-" for key in ("cpu", "wall", "peak", "bytes")
        )
        print(
            f"{row['work']:<46} {row['peer']:<14} {pair('cpu', 1, 3):>15} {pair('wall', 1, 3):>15}"
            f" {pair('peak', 1024, 1):>13} {pair('bytes', 1e6, 1):>13}  {ratios}"
        )


def main():
    os.environ["PATH"] = f"{PEERS}/bin:{os.environ['PATH']}:/usr/sbin"
    os.environ["COSIGN_PASSWORD"] = "bench"
    found = list(sizes())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        server, host = registry(folder)
        try:
            for row in rows(folder, host):
                found.extend(row.run(folder))
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(f"{folder}/buildah", ignore_errors=True)
    table(found)
    with open(sys.argv[1], "w", encoding="ascii") as file:
        json.dump(found, file, indent=2)
        file.write("\n")
    print(f"written: {sys.argv[1]}")


main()
