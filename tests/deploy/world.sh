#!/bin/bash
# A copy of this machine that nobody will miss: its files under an overlay in memory, its own processes, users, network, control
# groups, and a systemd that runs them. All of it goes when its first process does, and this machine is as it was. (AppArmor's
# profiles are the kernel's: where Ubuntu has none for bubblewrap, the one that install.sh loads stays until the next start.)
#
#   world.sh FOLDER COMMAND...    run a command in it; FOLDER is the same inside and outside; exit with the command's status
set -euo pipefail

folder=$1
shift

if [ "${IN_NAMESPACES:-}" = "" ]; then
    # Control groups first: those in which the namespace begins are all that it will see.
    made=()
    while IFS=: read -r _ controllers path; do
        case $controllers in
            "") base=/sys/fs/cgroup; [ -d $base/unified ] && base=$base/unified ;;
            name=*) base=/sys/fs/cgroup/${controllers#name=} ;;
            *) base=/sys/fs/cgroup/$controllers ;;
        esac
        [ -w "$base/cgroup.procs" ] && [ "$controllers" != cpuset ] || continue
        for left in "$base"/world.*; do  # of one that was killed
            [ ! -d "$left" ] || kill -0 "${left##*.}" 2>/dev/null || find "$left" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
        mkdir -p "$base/world.$$"
        made+=("$base/world.$$")
    done </proc/self/cgroup
    clean() {
        for group in "${made[@]}"; do
            for _ in $(seq 100); do
                find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
                sleep 0.1
            done
        done
    }
    trap clean EXIT
    (
        for group in "${made[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
        IN_NAMESPACES=yes exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child --propagation private \
            bash "$0" "$folder" "$@"
    ) && status=0 || status=$?
    exit $status
fi

world=$(mktemp -d)
mount -t tmpfs -o size=4g,mode=755 tmpfs "$world"
mkdir "$world/upper" "$world/work" "$world/root"
mount -t overlay -o "lowerdir=/,upperdir=$world/upper,workdir=$world/work" overlay "$world/root"
root=$world/root
number=0
for place in ${WORLD_NEEDS:-}; do  # which may lie on other disks
    disk=$(findmnt --noheadings --output TARGET --target "$place")
    if [ "$disk" != / ] && ! mountpoint --quiet "$root$disk"; then
        number=$((number + 1))
        mkdir -p "$world/upper$number" "$world/work$number" "$root$disk"
        mount -t overlay -o "lowerdir=$disk,upperdir=$world/upper$number,workdir=$world/work$number" overlay "$root$disk"
    fi
done

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
[ ! -d /sys/kernel/security/apparmor ] || mount -t securityfs securityfs "$root/sys/kernel/security"
if [ -d /sys/fs/cgroup/unified ] || ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    while IFS=: read -r _ controllers path; do
        name=${controllers#name=}
        mkdir -p "$root/sys/fs/cgroup/${name:-unified}"
        if [ -z "$controllers" ]; then mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
        else mount -t cgroup -o "$controllers" cgroup "$root/sys/fs/cgroup/$name"; fi
    done </proc/self/cgroup
else
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$root/dev/${number#*:}"; done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root$folder"
mount --bind "$folder" "$root$folder"

# Of the machine's own units only those that the world needs.
units=$root/etc/systemd/system
printf '%q ' "$@" >"$root/run/command"
cat >"$units/world.target" <<UNIT
[Unit]
Requires=systemd-journald.socket command.service
AllowIsolate=yes
UNIT
cat >"$units/command.service" <<UNIT
[Unit]
DefaultDependencies=no
After=systemd-journald.socket dbus.socket
Wants=dbus.socket systemd-user-sessions.service
[Service]
Type=oneshot
ExecStart=/bin/bash /run/command
ExecStopPost=/bin/sh -c 'systemctl exit \$\${EXIT_STATUS:-1}'
TimeoutStartSec=${WORLD_SECONDS:-600}
StandardOutput=append:$folder/output
StandardError=append:$folder/output
Environment=HOME=/root "PATH=$PATH"
UNIT
for unit in systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-binfmt.service systemd-remount-fs.service tmp.mount dev-hugepages.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount modprobe@.service \
    systemd-tmpfiles-clean.timer systemd-resolved.service systemd-timesyncd.service systemd-networkd.service; do
    ln -sf /dev/null "$units/$unit"
done
ip link set lo up
mkdir "$root/run/machine"
cd "$root"
pivot_root . run/machine
umount -l /run/machine
exec env -i container=world "PATH=$PATH" /lib/systemd/systemd --system --unit=world.target --log-target=null --show-status=no
