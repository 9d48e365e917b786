"""Runs a command with a memory limit that includes the page cache, like a container: in a cgroup of version 1 or 2."""

import os
import time

V1 = "/sys/fs/cgroup/memory"
V2 = "/sys/fs/cgroup"


class Limited:
    """A cgroup with a limit in bytes, for one command."""

    def __init__(self, limit):
        self.v1 = os.path.exists(f"{V1}/memory.limit_in_bytes")
        self.folder = f"{V1 if self.v1 else V2}/cnister-bench-{os.getpid()}"
        os.mkdir(self.folder)
        try:
            self.write("memory.limit_in_bytes" if self.v1 else "memory.max", limit)
            if self.v1 and self.has("memory.memsw.limit_in_bytes"):
                self.write("memory.memsw.limit_in_bytes", limit)
            if not self.v1 and self.has("memory.swap.max"):
                self.write("memory.swap.max", 0)
        except OSError:
            self.remove()
            raise

    def has(self, name):
        return os.path.exists(f"{self.folder}/{name}")

    def write(self, name, value):
        with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def read(self, name):
        with open(f"{self.folder}/{name}", encoding="ascii") as file:
            return file.read()

    def within(self, script):
        """Returns the shell script, changed so that all of it runs within the limit."""
        return f"echo $$ >{self.folder}/cgroup.procs\n{script}"

    def peak(self):
        """Returns the peak charge in bytes."""
        return int(self.read("memory.max_usage_in_bytes" if self.v1 else "memory.peak"))

    def remove(self):
        # Processes that just ended may still be accounted for.
        for _ in range(100):
            try:
                return os.rmdir(self.folder)
            except OSError:
                time.sleep(0.05)
        return None


def forget(*folders):
    """Drops these directories from the page cache, so that reading them is charged to the reader."""
    for folder in folders:
        for top, _, names in os.walk(folder):
            for name in names:
                with open(os.path.join(top, name), "rb") as file:
                    os.fdatasync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
