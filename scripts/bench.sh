#!/usr/bin/env bash
# bench.sh NAME|all [OPTION...]: builds the benchmarks and runs one or all; lines `metric NAME VALUE UNIT` are the result.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/as-caller.sh dotnet build bench/Hypervisor.Bench -c Release -v q -p:RunAnalyzers=false
exec bench/Hypervisor.Bench/bin/Release/net10.0/hypervisor-bench "$@"
