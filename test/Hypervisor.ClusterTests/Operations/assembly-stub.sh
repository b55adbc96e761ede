#!/usr/bin/env bash
# A stub of a test assembly for TestScriptTests: prints `output`, writes `counters` into the report that it is asked for and ends with
# `code`, files that lie beside it.
set -euo pipefail
report=""
while [ $# -gt 0 ]; do
  case $1 in -result-trx) report=$2; shift ;; esac
  shift
done
[ ! -e output ] || cat output
[ ! -e counters ] || cat counters > "$report"
exit "$(cat code)"
