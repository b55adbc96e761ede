#!/usr/bin/env bash
# libvirtd.sh DATA RUN: a libvirtd of our own in the foreground, with its files in DATA and its sockets in RUN (short: socket paths end at 107
# bytes). It sees private folders in the places where a libvirtd of the host's would keep its own, and ends with SIGTERM; VMs go on.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 2 ] || die "write: scripts/libvirtd.sh DATA RUN"
need_root "running libvirtd" run
mkdir -p "$1" "$2"
data=$(realpath "$1") run=$(realpath "$2")
mkdir -p "$data"/{etc,lib,cache,log} "$run/state"

# As root and without labels: the agent makes the files, and each VM is confined by QEMU's own sandbox. No log daemon: QEMU writes the console.
cat > "$data/etc/qemu.conf" << 'CONF'
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
stdio_handler = "file"
namespaces = []
CONF
[ -s "$data/host-uuid" ] || cp /proc/sys/kernel/random/uuid "$data/host-uuid"
cat > "$data/libvirtd.conf" << CONF
unix_sock_dir = "$run"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
unix_sock_admin_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "$(cat "$data/host-uuid")"
log_level = 3
CONF

# Debian's libvirt looks its default user up although the file above names another. The package that makes the user also brings an init system.
for file in passwd group; do cp "/etc/$file" "$data/$file"; done
grep -q ^libvirt-qemu: "$data/passwd" || printf 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n' >> "$data/passwd"
grep -q ^libvirt-qemu: "$data/group" || printf 'libvirt-qemu:x:64055:\n' >> "$data/group"

# shellcheck disable=SC2016 # Another shell's own variables.
exec unshare --mount --propagation private bash -euc '
  for pair in etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "${pair#*:}"
    mount --bind "$0/${pair%%:*}" "${pair#*:}"
  done
  for file in passwd group; do mount --bind "$0/$file" "/etc/$file"; done
  mkdir -p /run/libvirt
  mount --bind "$1/state" /run/libvirt
  exec libvirtd --config "$0/libvirtd.conf" --pid-file "$1/libvirtd.pid"
' "$data" "$run"
