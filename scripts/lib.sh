# Shared by the scripts in this folder; sourced, not run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What is started lives here; removed by `make stop`, but for the logs.
RUN_DIR=${RUN_DIR:-$ROOT/.run}
# What must lie on a short path and not survive a reboot: sockets, namespaces, containerd's state.
VOLATILE_DIR=${VOLATILE_DIR:-/run/hypervisor}
export SERVER_PORT=${SERVER_PORT:-50051} HTTP_PORT=${HTTP_PORT:-8080} AGENT_PORT=${AGENT_PORT:-50052} HELLO_PORT=${HELLO_PORT:-8081}
# embedded, or etcd: `make run STORE=etcd` starts a single member of its own.
STORE=${STORE:-embedded}
ETCD_PORT=${ETCD_PORT:-2379} ETCD_PEER_PORT=${ETCD_PEER_PORT:-2380}
export BRIDGE=hv0
# Not the agent's default: what a deployed agent runs on the same machine is none of ours.
CGROUP_PARENT=${CGROUP_PARENT:-/hypervisor-run}
# A containerd of the host's own may be named; otherwise `make run` starts one that is its own.
OWN_CONTAINERD=$VOLATILE_DIR/containerd/containerd.sock
CONTAINERD_ADDRESS=${CONTAINERD_ADDRESS:-$OWN_CONTAINERD}

# The SDK: on PATH, or where its installer puts it in the home of the user behind sudo. What is built on it is started as root and looks at
# neither.
if [ -z "${DOTNET_ROOT:-}" ]; then
  sdk=$(command -v dotnet || true)
  sdk=${sdk:-$(getent passwd "${SUDO_UID:-$(id -u)}" | cut -d: -f6)/.dotnet/dotnet}
  if [ -x "$sdk" ]; then
    DOTNET_ROOT=$(dirname "$(readlink -f "$sdk")")
    export DOTNET_ROOT
  fi
  unset sdk
fi

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# A name server or mirror that is away for a minute or two is waited for (each retry waits twice as long as the one before, at most 30 s).
apt_get() { apt-get -q -oAcquire::Retries=8 "$@"; }

need_root() {
  [ "$(id -u)" = 0 ] || die "$1 needs root; run: sudo make ${2:-$1}"
}

# The user behind sudo: what is made in the source tree belongs to them.
give_to_caller() {
  if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; then chown "$SUDO_UID:$SUDO_GID" "$@"; fi
}

# Start time of a process in clock ticks since boot (proc(5), field 22): with the pid it names a process for good.
start_time() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# remember NAME PID / running NAME: the pid if the remembered process still is that process.
remember() { printf '%s %s\n' "$2" "$(start_time "$2")" > "$RUN_DIR/$1.pid"; }
running() {
  local pid since
  [ -f "$RUN_DIR/$1.pid" ] && read -r pid since < "$RUN_DIR/$1.pid" && [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ] && echo "$pid"
}

# wait_until SECONDS COMMAND...: polls ten times a second; fails at the deadline.
wait_until() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# end_process PID SECONDS: asks, then kills.
end_process() {
  kill -TERM "$1" 2> /dev/null || return 0
  wait_until "$2" gone "$1" || kill -KILL "$1" 2> /dev/null || true
  wait_until 10 gone "$1"
}
gone() { [ ! -d "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status"; }
