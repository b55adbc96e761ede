#!/usr/bin/env bash
# publish.sh VERSION RID: artifacts/zixiao-VERSION-RID.tar.gz, which brings its own .NET runtime. Agent and command line are those of `make build`.
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

dotnet publish src/Hypervisor.Server -c Release -r "$rid" -v q -o "$staging/Server" --self-contained true -p:RunAnalyzers=false -p:PublishSingleFile=true -p:PublishReadyToRun=true
install -m 755 "$staging/Server/hypervisor-server" bin/hypervisor-agent bin/hypervisor-ctl "$tree/bin/"
install -m 644 "$staging/Server/libe_sqlite3.so" "$tree/bin/"
cp -r bin/guest "$tree/guest"
cp -r configs deployments docs README.md CHANGELOG.md LICENSE "$tree/"
tar -C "$staging" --sort=name --owner=0 --group=0 --numeric-owner -czf "artifacts/$name.tar.gz" "$name"
say "artifacts/$name.tar.gz"
