#!/usr/bin/env bash
# Formatting, analyzers (their warnings are errors), shell scripts.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/as-caller.sh dotnet build Hypervisor.slnx -c Debug -v q
# Style rules are warnings of the build; white space is not its business, and needs no projects loaded.
scripts/as-caller.sh dotnet format whitespace . --folder --verify-no-changes -v q
shellcheck -x scripts/*.sh test/*/*/*.sh .ci/run
say "lint: clean"
