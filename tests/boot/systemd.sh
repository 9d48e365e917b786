#!/bin/bash
# Boots the machine's systemd on the node whose root is $1, as process 1 in namespaces and a control group of its own.
# What units write to /out is in $2. Ends when test.target is reached.
set -eu
root=$1 out=$2
if [ -z "${INSIDE:-}" ]; then
    group=/sys/fs/cgroup/systemd/cnister-test-$$
    mkdir "$group"
    trap 'find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true' EXIT
    # The root of the hierarchy must be this group, or systemd would clean up the machine's groups.
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        INSIDE=1 exec unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup bash "$0" "$root" "$out"
    )
    exit
fi
mount --bind "$root" "$root"
cd "$root"
mkdir -p usr dev proc sys run tmp home root out var/tmp
mount --rbind /usr usr
for name in lib lib64 bin sbin; do ln -sfn "usr/$name" "$name"; done
for name in passwd group ld.so.cache nsswitch.conf; do cp "/etc/$name" etc/; done
echo 0123456789abcdef0123456789abcdef >etc/machine-id
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind "$out" out
exec chroot . env container=other /lib/systemd/systemd --system --unit=test.target --show-status=0
