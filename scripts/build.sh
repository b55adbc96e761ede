#!/usr/bin/env bash
# build.sh CONFIGURATION RID: the three programs into bin/, and what guests boot into bin/guest/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
command -v dotnet > /dev/null || PATH="$PATH:$HOME/.dotnet"
configuration=$1 rid=$2
mkdir -p bin
staging=$(mktemp -d bin/.staging.XXXXXX)
trap 'rm -rf "$staging"' EXIT

# Analyzers are `make lint`'s: they double the time of a build.
publish() { dotnet publish "src/Hypervisor.$1" -c "$configuration" -r "$rid" -v q -o "$staging/$1" -p:RunAnalyzers=false; }
say "Building hypervisor-server"
publish Server
say "Building hypervisor-agent (native)"
publish Agent
say "Building hypervisor-ctl (native)"
publish Ctl

say "Making the kernel and initramfs of guests"
scripts/guest.sh bin/guest

# Renamed into place: a running program keeps its own file.
for file in Server/hypervisor-server Server/libe_sqlite3.so Agent/hypervisor-agent Ctl/hypervisor-ctl; do
  mv -f "$staging/$file" "bin/$(basename "$file")"
done
touch bin/.built
