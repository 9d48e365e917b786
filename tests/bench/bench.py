#!/usr/bin/env python3
"""Runs each row and its peers in turn, in one run, and writes the results.

Time is what the kernel charged to the command and everything it started (wait4); peak memory is what GNU time reports,
because a child starts with its parent's peak and GNU time is small. Nothing here is asserted: a row is a measurement.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from limited import Limited, forget
from network import Proxy, Registry

ROUNDS = int(os.environ.get("ROUNDS", "7"))
CNISTER = os.environ["CNISTER"]
NODE = os.environ["CNISTER_NODE_BINARY"]
PEERS = os.environ["CNISTER_PEERS"]
HERE = os.path.dirname(os.path.abspath(__file__))
PLUGINS = f"{PEERS}/plugins"
# Where Go has its caches; the benchmarks have a home of their own.
HOME = os.environ.get("HOME", "/")
BUILD = f"{CNISTER} build {HERE}/upstream.yaml --directory upstream={PLUGINS} --tool {NODE} -o"


def measure(script, folder, may_fail=False):
    """One run of a shell script: exit code, CPU and wall seconds, peak KiB."""
    peak = os.path.join(folder, "peak")
    # GNU time in between: otherwise the shell would start with the peak memory of this interpreter.
    command = ["time", "-q", "-o", peak, "-f", "%M", "sh", "-ec", script]
    started = time.monotonic()
    with open(os.path.join(folder, "log"), "wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    if code != 0 and not may_fail:
        with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
            sys.exit(f"failed: {script}\n{log.read()}")
    with open(peak, encoding="ascii") as file:
        kib = int(file.read().split()[-1])
    return {"code": code, "cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "peak": kib}


def tree_bytes(path):
    """Returns the size of a file, or of all files below a path."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(path) for name in names)


class Row:
    """A task as done by us and by the peers, each a shell script with preparation and measurements.

    With a registry, a first run of each side goes through a proxy and is counted instead of timed.
    """

    def __init__(self, work, sides, ready="", result=None, registry=None):
        self.work, self.sides, self.ready, self.result, self.registry = work, sides, ready, result, registry

    def run(self, folder):
        """Runs all sides in turn, so that other load on the machine affects all of them."""
        seen = {name: [] for name in self.sides}
        fixed = {name: {} for name in self.sides}
        for number in range(ROUNDS + 1):
            for name, script in self.sides.items():
                if number == 0 and self.registry:
                    fixed[name].update(self.count(script, folder))
                    continue
                self.make_ready(folder)
                figures = measure(script, folder)
                if number > 0:  # the first round warms the caches
                    seen[name].append(figures)
                if self.result:
                    fixed[name]["bytes"] = tree_bytes(os.path.join(folder, self.result))
        return self.report(seen, fixed)

    def make_ready(self, folder):
        if self.ready:
            subprocess.run(["sh", "-ec", self.ready], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def count(self, script, folder):
        """Returns the bytes transferred in both directions, and the blobs that were fetched."""
        proxy = Proxy(self.registry.host)
        os.environ["REGISTRY"] = proxy.host
        try:
            self.make_ready(folder)
            before, position = proxy.bytes, self.registry.position()
            measure(script, folder)
            time.sleep(0.1)  # a request is logged after its response
            blobs = self.registry.blobs_since(position)
        finally:
            os.environ["REGISTRY"] = self.registry.host
        return {"bytes": proxy.bytes - before, "blobs": len(blobs), "blob_bytes": sum(blobs)}

    def report(self, seen, fixed):
        """Returns the medians of each side, and their ratio to ours."""
        medians = {
            name: {key: statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "peak")}
            for name, runs in seen.items()
        }
        for name, figures in fixed.items():
            medians[name].update(figures)
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


COSIGN_VERIFY = "cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry"


def prepare(folder):
    """Builds the signed bundle, and the image that users have today: one gzip layer, signed by cosign."""
    script = f"""
        {BUILD} signed
        {CNISTER} keygen
        {CNISTER} sign --key cosign.key oci:signed
        {CNISTER} push oci:signed $REGISTRY/cni/upstream:1.9.1
        mkdir root
        {CNISTER} install --key cosign.pub --root root oci:signed
        umoci init --layout today
        umoci new --image today:v1
        umoci insert --image today:v1 {PLUGINS} /opt/cni/bin
        crane push today $REGISTRY/today/plugins:v1
        cosign sign -y --key cosign.key --tlog-upload=false --use-signing-config=false --allow-http-registry \\
            $REGISTRY/today/plugins@$(crane digest $REGISTRY/today/plugins:v1)
        """
    run = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"cannot prepare: {run.stdout}{run.stderr}")


def node_rows(registry):
    """Work on a node: installing, installing again with nothing to do, and checking."""
    install = {
        "cnister": f"{NODE} install --key cosign.pub --root node $REGISTRY/cni/upstream:1.9.1",
        "cosign, crane": f"""
            {COSIGN_VERIFY} $REGISTRY/today/plugins:v1
            mkdir -p unpacked bin
            crane export $REGISTRY/today/plugins:v1 - | tar -x -C unpacked
            cp unpacked/opt/cni/bin/* bin/
            sync -f bin
            """,
    }
    yield Row(
        "install from a registry, verified and durable",
        install,
        ready="rm -rf node unpacked bin; mkdir node; sync -f .",
        registry=registry,
    )
    yield Row(
        "the same, nothing changed",
        install,
        ready=f"rm -rf node; mkdir node; {install['cnister']}; sync -f .",
        registry=registry,
    )
    sums = "sha256sum root/opt/cni/bin/*"
    yield Row("check the set: proof, bytes, VERSION of each", {"cnister": f"{NODE} check --root root", "sha256sum": sums})
    yield Row("check the set: proof, bytes", {"cnister": f"{NODE} check --no-probe --root root", "sha256sum": sums})


def image_rows(folder):
    """Work on an image."""
    with open(f"{folder}/Containerfile", "w", encoding="ascii") as file:
        file.write("FROM scratch\nCOPY . /opt/cni/bin/\n")
    buildah = f"buildah --root {folder}/buildah --runroot {folder}/buildah-run --storage-driver vfs"
    peers = {
        "umoci insert": f"umoci init --layout out; umoci new --image out:v1; umoci insert --image out:v1 {PLUGINS} /opt/cni/bin",
        "buildah bud": f"{buildah} bud -q --isolation chroot --layers=false -f Containerfile -t v1 {PLUGINS}; {buildah} push -q v1 oci:out:v1",
    }
    with open(f"{HERE}/upstream.yaml", encoding="utf-8") as file:
        definition = file.read()
    for encoding in ("balanced", "best"):
        with open(f"{folder}/{encoding}.yaml", "w", encoding="utf-8") as file:
            file.write(f"{definition}compression: {encoding}\ntool: none\n")
        ours = f"{CNISTER} build {encoding}.yaml --directory upstream={PLUGINS} --cache-dir cache -o out"
        yield Row(
            f"compose the 18 upstream plugins into a layout, {encoding}, without the tool",
            {"cnister": ours, **peers},
            ready="rm -rf out cache buildah buildah-run",
            result="out",
        )
    image = "$REGISTRY/cni/upstream:1.9.1"
    yield Row(
        "verify an image in a registry, layers read",
        {
            "cnister": f"{NODE} verify --key cosign.pub {image}",
            "cosign verify": f"{COSIGN_VERIFY} {image}",
        },
    )
    yield Row(
        "the same without its layers, as cosign does",
        {
            "cnister": f"{NODE} verify --no-layers --key cosign.pub {image}",
            "cosign verify": f"{COSIGN_VERIFY} {image}",
        },
    )


GATES = """gates:
  static: true
  minGo: "1.24"
  oneToolchain: true
  versionMatches: true
  mainPackage: true
  noPacker: true
  allowSetId: []
  kubernetes: ">=1.30"
  minLevel: checksum-same-origin
"""
PLATFORMS = ("amd64", "arm64", "arm", "ppc64le", "riscv64", "s390x")


def plugins_for(architecture):
    """Returns a directory with the 18 plugins for an architecture; compiles them if there is none yet."""
    if architecture == "amd64":
        return PLUGINS
    folder = f"{PEERS}/plugins-{architecture}"
    if not os.path.isdir(folder):
        with open(f"{HERE}/../peers/versions", encoding="utf-8") as file:
            words = next(line.split() for line in file if line.startswith("plugins "))
        _, _, version, module, packages, variable = words
        script = f"""
            tree=$(go mod download -json {module}@{version} | sed -n 's/^[[:space:]]*"Dir": "\\(.*\\)",*$/\\1/p')
            rm -rf {folder}.new
            mkdir {folder}.new
            go -C "$tree" build -ldflags "-s -w -X {variable}={version}" -o {folder}.new/ \\
                {" ".join(f"./{package}" for package in packages.split(","))}
            mv {folder}.new {folder}
            """
        go = {"GOARCH": architecture, "GOARM": "7", "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
        subprocess.run(["sh", "-ec", script], check=True, env={**os.environ, "HOME": HOME, **go})
    return folder


def release(folder, name, architectures):
    """Writes the archives of a release, and a definition that takes them with everything on; locks it."""
    for architecture in architectures:
        archive = f"cni-{architecture}.tgz"
        script = f"tar -C {plugins_for(architecture)} -czf {archive} .; sha256sum {archive} >{archive}.sha256"
        if not os.path.exists(f"{folder}/{archive}"):
            subprocess.run(["sh", "-ec", script], cwd=folder, check=True)
    with open(f"{HERE}/upstream.yaml", encoding="utf-8") as file:
        _, plugins = file.read().split("plugins:")
    platforms = ", ".join(f"linux/{architecture}" for architecture in architectures)
    with open(f"{folder}/{name}.yaml", "w", encoding="utf-8") as file:
        file.write(
            f"apiVersion: cnister.dev/v1\nkind: Bundle\nname: upstream\nversion: 1.9.1\nplatforms: [{platforms}]\n"
            'sources:\n  - name: upstream\n    archive: {from: "cni-{architecture}.tgz", version: v1.9.1}\n'
            f"plugins:{plugins}{GATES}tool: none\n"
        )
    lock = [CNISTER, "lock", f"{name}.yaml", "--no-probe", "--cache-dir", "lock-cache"]
    subprocess.run(lock, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def release_rows(folder):
    """Composing from a release archive with SBOM, facts and gates: once, again, and for six platforms."""

    def build(name, cache):
        return f"{CNISTER} build {name}.yaml --sbom cyclonedx --cache-dir {cache} -o out"

    umoci = f"umoci init --layout out; umoci new --image out:v1; umoci insert --image out:v1 {PLUGINS} /opt/cni/bin"
    release(folder, "one", PLATFORMS[:1])
    work = "compose the 18 upstream plugins from a release archive, SBOM, facts and gates"
    syft = f"SYFT_CHECK_FOR_APP_UPDATE=false syft scan dir:{PLUGINS} -q -o cyclonedx-json=sbom.json"
    peers = {"umoci insert": umoci, "syft, the SBOM alone": syft}
    yield Row(work, {"cnister": build("one", "cache"), **peers}, ready="rm -rf out cache", result="out")
    yield Row(
        "the same again, nothing changed",
        # The peers have nothing to do less with.
        {"cnister": build("one", "cache"), "the first time": build("one", "empty"), "umoci insert": umoci},
        ready=f"rm -rf out empty; {build('one', 'cache')}; rm -rf out",
    )
    if not shutil.which("go"):
        print("skipped: no Go to compile the plugins of other platforms")
        return
    for architecture in PLATFORMS:
        release(folder, architecture, [architecture])
    release(folder, "six", PLATFORMS)
    singly = "; ".join(f"{build(architecture, 'cache')}-{architecture}" for architecture in PLATFORMS)
    yield Row(
        "six platforms in one run",
        {"cnister": build("six", "cache"), "six runs of one": singly},
        ready="rm -rf out* cache",
    )


LIMIT = 32 * 1024 * 1024


def large(folder):
    """Pushes a bundle of ten times as many distinct plugins to the registry; returns the path of its files."""
    os.mkdir(f"{folder}/large")
    names = sorted(name for name in os.listdir(PLUGINS) if os.access(f"{PLUGINS}/{name}", os.X_OK))
    many = [f"{name}-{number}" for number in range(10) for name in names]
    for name in many:
        shutil.copy(f"{PLUGINS}/{name.rpartition('-')[0]}", f"{folder}/large/{name}")
        with open(f"{folder}/large/{name}", "ab") as file:
            file.write(name.encode())
    with open(f"{folder}/large.yaml", "w", encoding="ascii") as file:
        file.write(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: large\nversion: 1.0.0\nplatforms: [linux/amd64]\n"
            f"sources: [{{name: here, directory: {folder}/large}}]\nplugins: [{', '.join(many)}]\ntool: none\n"
        )
    script = f"""
        {CNISTER} build large.yaml -o signed-large
        {CNISTER} sign --key cosign.key oci:signed-large
        {CNISTER} push oci:signed-large $REGISTRY/cni/large:1
        """
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def limited(script, folder):
    """One run within the limit, starting with a cold page cache."""
    forget(f"{folder}/image", f"{folder}/staged", f"{folder}/registry")
    cgroup = Limited(LIMIT)
    try:
        figures = measure(cgroup.within(script), folder, may_fail=True)
        figures["peak"] = cgroup.peak() // 1024
    finally:
        cgroup.remove()
    return figures


def memory_rows(folder):
    """Installations in the memory of a small init container, once each, beside `cp`; peak is the cgroup's."""
    large(folder)
    for layout, image, size in (("signed", "cni/upstream:1.9.1", 68), ("signed-large", "cni/large:1", 680)):
        ready = f"""
            rm -rf image staged evidence.json
            mkdir image staged
            crane export $REGISTRY/{image} - | tar -x -C image
            {CNISTER} evidence oci:{layout} -o evidence.json
            """
        subprocess.run(["sh", "-ec", ready], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        again = "rm -rf node bin; mkdir node bin; sync -f ."
        install = f"{NODE} install --key cosign.pub --root node"
        ways = {
            "from a registry": f"{install} $REGISTRY/{image}",
            "staged": f"{NODE} stage --image image staged\n{install} --from staged --evidence evidence.json",
        }
        subprocess.run(["sh", "-ec", again], cwd=folder, check=True)
        theirs = limited("cp image/opt/cni/bin/* bin/\nsync -f bin", folder)
        for way, script in ways.items():
            subprocess.run(["sh", "-ec", again], cwd=folder, check=True)
            ours = limited(script, folder)
            yield {
                "work": f"{size} MB in 32 MiB with page cache, {way}",
                "peer": "cp, sync",
                "rounds": 1,
                "ours": ours,
                "theirs": theirs,
                "ratio": {key: ours[key] / theirs[key] for key in ours if theirs[key]},
            }


def sizes():
    """Compares the size of the program with those that do parts of its work."""
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
    """Prints the results for people."""
    columns = [("cpu", "CPU s", 1, 3), ("wall", "wall s", 1, 3), ("peak", "peak MiB", 1024, 1), ("bytes", "MB", 1e6, 1)]
    counts = [("blobs", "blobs"), ("blob_bytes", "bytes in them"), ("code", "exit codes")]
    head = "".join(f" {title:>15}" for _, title, _, _ in columns)
    print(f"{'work':<48} {'peer':<14}{head}  ratio of CPU, wall, peak, bytes")
    for row in found:
        ours, theirs = row["ours"], row["theirs"]
        cells = "".join(
            f" {f'{ours[key] / scale:.{digits}f} / {theirs[key] / scale:.{digits}f}' if key in ours else '':>15}"
            for key, _, scale, digits in columns
        )
        ratios = [f"{row['ratio'][key]:.2f}" if key in row["ratio"] else "-" for key, _, _, _ in columns]
        notes = "".join(f"; {name} {ours[key]} / {theirs[key]}" for key, name in counts if key in ours)
        print(f"{row['work']:<48} {row['peer']:<14}{cells}  {', '.join(ratios)}{notes}")


def main():
    os.environ["PATH"] = f"{PEERS}/bin:{os.environ['PATH']}:/usr/sbin"
    os.environ["COSIGN_PASSWORD"] = "bench"
    found = list(sizes())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        registry = Registry(folder)
        os.environ["REGISTRY"] = registry.host
        try:
            prepare(folder)
            for row in [*node_rows(registry), *image_rows(folder), *release_rows(folder)]:
                found.extend(row.run(folder))
            try:
                found.extend(memory_rows(folder))
            except OSError as error:
                print(f"skipped: no memory limit can be set here: {error}")
        finally:
            registry.end()
            shutil.rmtree(f"{folder}/buildah", ignore_errors=True)
    table(found)
    with open(sys.argv[1], "w", encoding="ascii") as file:
        json.dump(found, file, indent=2)
        file.write("\n")
    print(f"written: {sys.argv[1]}")


main()
