#!/usr/bin/env bash
# Starts a one-machine cluster in the background and in it one image as a container, a microVM and a VM. Running it again is harmless.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
need_root "running instances" run

ctl() { "$ROOT/bin/hypervisor-ctl" --server "127.0.0.1:$SERVER_PORT" "$@"; }

# Only one cluster per machine can own the bridge and the volatile directory; a deployed agent uses the same one.
if [ -f "$VOLATILE_DIR/owner" ]; then
  [ "$(cat "$VOLATILE_DIR/owner")" = "$RUN_DIR" ] ||
    die "$VOLATILE_DIR belongs to the cluster of $(cat "$VOLATILE_DIR/owner"); run 'make stop' there first"
elif [ -n "$(ls -A "$VOLATILE_DIR" 2> /dev/null)" ]; then
  die "$VOLATILE_DIR is in use, by an installed agent perhaps; choose another place: make run VOLATILE_DIR=/run/NAME"
fi

# Whoever listens on a port that we need is named before anything is started.
require_port() {
  local listener
  listener=$(ss -Hltnp "sport = :$2" | head -n 1)
  [ -z "$listener" ] || die "port $2, which the $1 needs, is in use by $(sed -n 's/.*users:((\"\([^\"]*\)\",pid=\([0-9]*\).*/\1 (pid \2)/p' <<< "$listener"); end it, or choose another: make run $3=NUMBER"
}
case $STORE in embedded | etcd) ;; *) die "STORE=$STORE: write embedded or etcd" ;; esac
if [ "$STORE" = etcd ] && ! running etcd > /dev/null; then require_port etcd "$ETCD_PORT" ETCD_PORT; require_port etcd "$ETCD_PEER_PORT" ETCD_PEER_PORT; fi
# A server keeps the store it was started with.
if running server > /dev/null && [ "$(cat "$RUN_DIR/store" 2> /dev/null)" != "$STORE" ]; then
  die "the server runs with the $(cat "$RUN_DIR/store") store; stop it first (make stop), or: make run STORE=$(cat "$RUN_DIR/store")"
fi
running server > /dev/null || { require_port server "$SERVER_PORT" SERVER_PORT; require_port server "$HTTP_PORT" HTTP_PORT; }
running agent > /dev/null || { require_port agent "$AGENT_PORT" AGENT_PORT; require_port "first container" "$HELLO_PORT" HELLO_PORT; }

mkdir -p "$RUN_DIR/log" "$RUN_DIR/cache"
# What a person looks at is the caller's, also when this fails; what server, agent and containerd keep is theirs.
hand_over() {
  local files
  mapfile -d '' files < <(find "$RUN_DIR" "$RUN_DIR/log" "$RUN_DIR/cache" -maxdepth 1 -type f -print0)
  [ ${#files[@]} = 0 ] || give_to_caller "${files[@]}"
}
trap hand_over EXIT
give_to_caller "$RUN_DIR" "$RUN_DIR/log" "$RUN_DIR/cache"
# What was there before us stays when we go.
if [ ! -f "$RUN_DIR/before" ]; then
  for path in /run/mount /run/libvirt /sys/fs/cgroup/machine /sys/fs/cgroup/*/machine /run/containerd /run/containerd/{s,fifo,runc,runc/hypervisor} /opt/containerd; do
    if [ -e "$path" ]; then echo "$path"; fi
  done > "$RUN_DIR/before"
fi
mkdir -p "$VOLATILE_DIR"
chmod 711 "$VOLATILE_DIR"
echo "$RUN_DIR" > "$VOLATILE_DIR/owner"
# `make stop` must find what it is to take down also when it is called without the variables of this call.
declare -p VOLATILE_DIR OWN_CONTAINERD CONTAINERD_ADDRESS CGROUP_PARENT SERVER_PORT > "$RUN_DIR/settings"

# start NAME COMMAND...: in a session of its own, output to its log.
start() {
  local name=$1; shift
  setsid "$@" >> "$RUN_DIR/log/$name.log" 2>&1 < /dev/null &
  remember "$name" $!
  disown
}
# ready NAME SECONDS COMMAND...: waits for the command to succeed while the process lives; else shows its log.
ready() {
  local name=$1 seconds=$2 deadline; shift 2
  deadline=$((SECONDS + seconds))
  until "$@" > /dev/null 2>&1; do
    if ! running "$name" > /dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      tail -n 20 "$RUN_DIR/log/$name.log" >&2
      die "$name did not get ready within $seconds s; its log: $RUN_DIR/log/$name.log"
    fi
    sleep 0.05
  done
}

if [ "$CONTAINERD_ADDRESS" = "$OWN_CONTAINERD" ] && ! running containerd > /dev/null; then
  mkdir -p "$RUN_DIR/containerd" "$VOLATILE_DIR/containerd"
  cat > "$RUN_DIR/containerd/config.toml" <<TOML
version = 2
root = "$RUN_DIR/containerd/root"
state = "$VOLATILE_DIR/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$CONTAINERD_ADDRESS"
[plugins."io.containerd.internal.v1.opt"]
  path = "$RUN_DIR/containerd/opt"
TOML
  # A socket that an earlier one left behind would pass for a living one.
  rm -f "$CONTAINERD_ADDRESS" "$CONTAINERD_ADDRESS.ttrpc"
  start containerd containerd --config "$RUN_DIR/containerd/config.toml" --log-level warn
  ready containerd 20 test -S "$CONTAINERD_ADDRESS"
fi

if ! running libvirtd > /dev/null; then
  # A socket that an earlier one left behind would pass for a living one.
  rm -f "$VOLATILE_DIR"/libvirt/libvirt-sock*
  start libvirtd scripts/libvirtd.sh "$RUN_DIR/libvirt" "$VOLATILE_DIR/libvirt"
  ready libvirtd 30 test -S "$VOLATILE_DIR/libvirt/libvirt-sock"
fi

# The overlay driver refuses an upper directory that itself lies on an overlay.
snapshotter=overlayfs
probe=$RUN_DIR/cache/overlay
mkdir -p "$probe"/{lower,upper,work,merged}
if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" 2> /dev/null; then
  umount "$probe/merged"
else
  snapshotter=native
fi
rm -rf "$probe"

if [ "$STORE" = etcd ] && ! running etcd > /dev/null; then
  # The batch limit and the collector's setting: docs/operations.md, "Settings of etcd".
  start etcd env GOGC=400 etcd --backend-batch-limit 1000 --name run --data-dir "$RUN_DIR/etcd" --logger zap --log-outputs stderr \
    --listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" --initial-advertise-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
    --initial-cluster "run=http://127.0.0.1:$ETCD_PEER_PORT"
  ready etcd 20 env ETCDCTL_API=3 etcdctl --endpoints "http://127.0.0.1:$ETCD_PORT" endpoint health
fi

if ! running server > /dev/null; then
  cat > "$RUN_DIR/server.yaml" <<YAML
grpc_addr: "127.0.0.1:$SERVER_PORT"
http_addr: "127.0.0.1:$HTTP_PORT"
data_dir: "$RUN_DIR/server"
YAML
  if [ "$STORE" = etcd ]; then printf 'etcd:\n  endpoints: ["http://127.0.0.1:%s"]\n' "$ETCD_PORT" >> "$RUN_DIR/server.yaml"; fi
  echo "$STORE" > "$RUN_DIR/store"
  start server "$ROOT/bin/hypervisor-server" --config "$RUN_DIR/server.yaml"
fi
ready server 20 ctl cluster info

if ! running agent > /dev/null; then
  own_state=""
  if [ "$CONTAINERD_ADDRESS" = "$OWN_CONTAINERD" ]; then own_state="  state: $VOLATILE_DIR/containerd/state"$'\n'; fi
  cat > "$RUN_DIR/agent.yaml" <<YAML
port: $AGENT_PORT
server_addr: "127.0.0.1:$SERVER_PORT"
data_dir: "$RUN_DIR/agent"
run_dir: "$VOLATILE_DIR"
containerd:
  address: "$CONTAINERD_ADDRESS"
  snapshotter: $snapshotter
${own_state}  cgroup_parent: "$CGROUP_PARENT"
network:
  bridge: $BRIDGE
libvirt:
  uri: "qemu:///system?socket=$VOLATILE_DIR/libvirt/libvirt-sock"
guest:
  directory: "$ROOT/bin/guest"
YAML
  start agent "$ROOT/bin/hypervisor-agent" --config "$RUN_DIR/agent.yaml"
fi
node_ready() { ctl node list -o json | grep -q '"NODE_LIVENESS_READY"'; }
ready agent 30 node_ready
# Things are tried out here, on two CPUs perhaps: what it begins with and a few instances of the default size have to fit. Only the first time:
# from then on it is the user's.
ctl instance get hello > /dev/null 2>&1 || ctl node set "$(ctl node list -o name | head -n 1)" --overcommit-cpu 4 > /dev/null

if ! ctl image list -o name | grep -q '^busybox:latest$'; then
  [ -f "$RUN_DIR/cache/busybox.tar" ] || scripts/image.sh "$RUN_DIR/cache/busybox.tar"
  ctl image import "$RUN_DIR/cache/busybox.tar" --name busybox > /dev/null
fi
# The same image and command in each type; the container alone is also reached from outside of the machine.
create() { ctl instance get "$1" > /dev/null 2>&1 || ctl instance create --name "$1" --image busybox --no-wait "${@:2}" -- httpd -f -p 80 -h /var/www > /dev/null; }
create hello --type container --cpus 0.1 --memory 64 --publish "$HELLO_PORT:80"
create hello-microvm --type microvm --cpus 0.6 --memory 128
create hello-vm --type vm --cpus 0.6 --memory 128

page=""
# shellcheck disable=SC2016 # expanded by the inner bash
# By bash alone: a minimal Debian has neither curl nor wget.
fetch() { page=$(timeout 2 bash -c 'exec 3<> "/dev/tcp/$0/80" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$1") && [[ $page = *"It runs."* ]]; }
answers=""
for name in hello hello-microvm hello-vm; do
  ctl instance start "$name" --wait --timeout 120s > /dev/null || { ctl instance why "$name" >&2; die "$name does not run"; }
  address=$(ctl instance get "$name" -o json | tr -d ' \n' | sed -n 's/.*"ipAddresses":\["\([^"/]*\).*/\1/p')
  wait_until 20 fetch "$address" || die "$name runs at $address and does not answer HTTP; see: bin/hypervisor-ctl instance get $name"
  fetch "$address"
  answers+="http://$address/ answered: $(sed -n 's/.*<h1>\(.*\)<\/h1>.*/\1/p' <<< "$page")"
  [ "$name" != hello ] || answers+="   (also http://127.0.0.1:$HELLO_PORT/)"
  answers+=$'\n'
done

ctl instance list
flags=""
[ "$SERVER_PORT" = 50051 ] || flags=" --server 127.0.0.1:$SERVER_PORT"
cat <<TEXT

${answers}API   127.0.0.1:$SERVER_PORT (gRPC)
Logs  $(realpath --relative-to="$PWD" "$RUN_DIR/log")/

Try next:
  bin/hypervisor-ctl$flags instance create --name mine --type microvm --image busybox -- sleep 1h
  bin/hypervisor-ctl$flags instance list --watch
  bin/hypervisor-ctl$flags instance why mine
  bin/hypervisor-ctl$flags instance delete mine
  make stop
TEXT
