#!/usr/bin/env bash
# Formatting, analyzers (their warnings are errors), shell scripts.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/as-caller.sh dotnet build Hypervisor.slnx -c Debug -v q
scripts/as-caller.sh dotnet format whitespace Hypervisor.slnx --no-restore --verify-no-changes -v q
scripts/as-caller.sh dotnet format style Hypervisor.slnx --no-restore --verify-no-changes -v q
shellcheck -x scripts/*.sh test/*/*/*.sh .ci/run
say "lint: clean"
