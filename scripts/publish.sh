#!/usr/bin/env bash
# publish.sh VERSION RID: artifacts/zixiao-VERSION-RID.tar.gz, which brings its own .NET runtime.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
command -v dotnet > /dev/null || PATH="$PATH:$HOME/.dotnet"
name=zixiao-$1-$2 rid=$2
mkdir -p artifacts
staging=$(mktemp -d artifacts/.staging.XXXXXX)
trap 'rm -rf "$staging"' EXIT
tree=$staging/$name
mkdir -p "$tree/bin"

publish() { dotnet publish "src/Hypervisor.$1" -c Release -r "$rid" -v q -o "$staging/$1" "${@:2}"; }
publish Server --self-contained true -p:PublishSingleFile=true -p:PublishReadyToRun=true
publish Agent
publish Ctl
install -m 755 "$staging/Server/hypervisor-server" "$staging/Agent/hypervisor-agent" "$staging/Ctl/hypervisor-ctl" "$tree/bin/"
install -m 644 "$staging/Server/libe_sqlite3.so" "$tree/bin/"
cp -r configs deployments docs README.md CHANGELOG.md LICENSE "$tree/"
tar -C "$staging" --sort=name --owner=0 --group=0 --numeric-owner -czf "artifacts/$name.tar.gz" "$name"
say "artifacts/$name.tar.gz"
