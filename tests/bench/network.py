"""Measures traffic with a registry: a registry on loopback that logs its requests, and a proxy that counts every byte in
both directions."""

import os
import re
import socket
import subprocess
import sys
import threading
import time

BLOB = re.compile(rb'"GET /v2/\S+/blobs/(\S+) HTTP/1\.1" 200 (\d+)')


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """docker-registry with its content below `folder`, stopped by its handle."""

    def __init__(self, folder):
        self.host = f"127.0.0.1:{free_port()}"
        self.log = os.path.join(folder, "access.log")
        config = os.path.join(folder, "registry.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write(
                "version: 0.1\nlog: {level: error, accesslog: {disabled: false}}\n"
                f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '{self.host}'}}\n"
            )
        with open(self.log, "wb") as log:
            command = ["docker-registry", "serve", config]
            self.server = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
        host, port = self.host.split(":")
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return
            time.sleep(0.05)
        self.end()
        sys.exit("docker-registry does not answer")

    def end(self):
        self.server.kill()
        self.server.wait()

    def position(self):
        """Returns the current end of the request log."""
        return os.path.getsize(self.log)

    def blobs_since(self, position):
        """Returns the sizes of the blobs fetched since."""
        with open(self.log, "rb") as log:
            log.seek(position)
            return [int(size) for _, size in BLOB.findall(log.read())]


class Proxy:
    """Passes on connections to `target` and counts the bytes; for a run that is not timed."""

    def __init__(self, target):
        self.target = target.split(":")
        self.bytes = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection((self.target[0], int(self.target[1])))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    def copy(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                with self.lock:
                    self.bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side hung up; the bytes so far were counted
