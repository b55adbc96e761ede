#!/usr/bin/env bash
# Takes down everything that run.sh started and what its instances left, also after all of it was killed. Only the logs stay.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
# What `make run` was called with, whatever this call says.
# shellcheck source=/dev/null
if [ -f "$RUN_DIR/settings" ]; then . "$RUN_DIR/settings"; fi

if [ ! -d "$RUN_DIR" ] && [ ! -d "$VOLATILE_DIR" ]; then say "Nothing is running."; exit 0; fi
need_root "stopping instances" stop
if [ -f "$VOLATILE_DIR/owner" ] && [ "$(cat "$VOLATILE_DIR/owner")" != "$RUN_DIR" ]; then
  die "$VOLATILE_DIR belongs to the cluster of $(cat "$VOLATILE_DIR/owner"); run 'make stop' there"
fi
if [ ! -f "$VOLATILE_DIR/owner" ] && [ ! -f "$RUN_DIR/before" ]; then say "Nothing is running."; exit 0; fi
existed() { grep -qx "$1" "$RUN_DIR/before" 2> /dev/null; }

# In a containerd of the host's own, instances are deleted as a user would: it must not be left with anything of ours.
if [ "$CONTAINERD_ADDRESS" != "$OWN_CONTAINERD" ] && running server > /dev/null && running agent > /dev/null; then
  ctl() { timeout 60 bin/hypervisor-ctl --server "127.0.0.1:$SERVER_PORT" "$@"; }
  mapfile -t instances < <(ctl instance list -o name)
  [ ${#instances[@]} = 0 ] || ctl instance delete "${instances[@]}" > /dev/null || say "warning: not every instance could be deleted" >&2
fi

# The agent and the server go first: nothing is started again behind our back.
for name in agent server etcd; do
  pid=$(running $name) && end_process "$pid" 15
done

# Every process of an instance is in a cgroup under ours. Frozen ones cannot die, so they are thawed.
cgroups=()
for cgroup in /sys/fs/cgroup/*"$CGROUP_PARENT"{,-guests} "/sys/fs/cgroup$CGROUP_PARENT"{,-guests}; do
  if [ -d "$cgroup" ]; then cgroups+=("$cgroup"); fi
done
for cgroup in "${cgroups[@]}"; do
  find "$cgroup" -name freezer.state -exec sh -c 'echo THAWED > "$1"' _ {} \; 2> /dev/null
done
members() { for cgroup in "${cgroups[@]}"; do find "$cgroup" -name cgroup.procs -exec cat {} + 2> /dev/null; done | sort -u; }
# libvirtd's are in groups of its own, and those without a limit in none: each has its disks or sockets in our folders.
guests() { pgrep -f "^[^ ]*qemu-system-x86_64 -name (guest=)?zixiao-.*($RUN_DIR|$VOLATILE_DIR)/" 2> /dev/null; }
shims() { pgrep -f "^[^ ]*containerd-shim-runc-v2 -namespace hypervisor .*-address $CONTAINERD_ADDRESS" 2> /dev/null; }
instances_gone() {
  local pids
  pids=$(members; guests)
  [ -n "$pids" ] || return 0
  # shellcheck disable=SC2086 # a list of numbers
  kill -KILL $pids 2> /dev/null
  return 1
}
wait_until 15 instances_gone || say "warning: processes of instances do not die: $(members | tr '\n' ' ')" >&2
for pid in $(shims); do end_process "$pid" 3; done
for name in libvirtd containerd; do
  pid=$(running $name) && end_process "$pid" 15
done
if [ "$CONTAINERD_ADDRESS" != "$OWN_CONTAINERD" ] && [ -S "$CONTAINERD_ADDRESS" ]; then
  ctr() { timeout 20 ctr --address "$CONTAINERD_ADDRESS" --namespace hypervisor "$@" > /dev/null 2>&1; }
  timeout 20 ctr --address "$CONTAINERD_ADDRESS" --namespace hypervisor images list -q 2> /dev/null | while read -r image; do ctr images remove --sync "$image"; done
  ctr namespaces remove hypervisor
fi
for pid in $(shims); do end_process "$pid" 1; done

# Links, address translation and sysctls: the agent knows what it changed.
if [ -f "$RUN_DIR/agent.yaml" ] && [ -x bin/hypervisor-agent ]; then
  timeout 30 bin/hypervisor-agent --config "$RUN_DIR/agent.yaml" --teardown-network >> "$RUN_DIR/log/agent.log" 2>&1 ||
    say "warning: the network was not taken down completely; see $RUN_DIR/log/agent.log" >&2
fi

# Deepest mounts first.
awk -v run="$RUN_DIR/" -v volatile="$VOLATILE_DIR/" 'index($5, run) == 1 || index($5, volatile) == 1 { print $5 }' /proc/self/mountinfo |
  sort -r | while read -r mount; do umount -l "$mount" 2> /dev/null; done
for cgroup in "${cgroups[@]}"; do find "$cgroup" -depth -type d -exec rmdir {} \; 2> /dev/null; done
# Of VMs whose libvirtd was killed; a group in which anything still runs cannot be removed.
find /sys/fs/cgroup/machine /sys/fs/cgroup/*/machine -depth -type d -path '*/qemu-*-zixiao-*' -exec rmdir {} \; 2> /dev/null

# What shims and runc keep outside of containerd's own folders. Another containerd may use the same folders: only our own
# instances' entries go, and folders that are empty and were not there before. /run/mount is mount(8)'s.
for bundle in "$VOLATILE_DIR"/containerd/state/io.containerd.runtime.v2.task/hypervisor/*/; do
  [ -d "$bundle" ] || continue
  rm -rf "/run/containerd/runc/hypervisor/$(basename "$bundle")"
  [ -f "$bundle/address" ] && socket=$(sed 's|^unix://||' "$bundle/address") && case $socket in /run/containerd/s/*) rm -f "$socket" ;; esac
done
for path in /run/containerd/{runc/hypervisor,runc,fifo,s} /run/containerd /opt/containerd /run/mount /run/libvirt /sys/fs/cgroup/machine /sys/fs/cgroup/*/machine; do
  existed "$path" || rmdir "$path" 2> /dev/null
done
rm -rf "$VOLATILE_DIR"
find "$RUN_DIR" -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +
give_to_caller -R "$RUN_DIR"
say "Stopped. The logs are kept in $RUN_DIR/log/."
