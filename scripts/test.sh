#!/usr/bin/env bash
# Builds and runs every test assembly, and prints last one line with the sums of their reports.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
need_root "running the tests against real components" test
results=$ROOT/TestResults
rm -rf "$results"
mkdir -p "$results"
give_to_caller "$results"

scripts/as-caller.sh dotnet build Hypervisor.slnx -c Debug -v q || die "the build failed"

passed=0 failed=0 skipped=0 broken=0 failures=
for project in test/*/*.csproj; do
  name=$(basename "$project" .csproj)
  grep -q IsTestProject "$project" || continue
  report=$results/$name.trx
  say "── $name"
  output=$results/$name.log
  (cd "test/$name/bin/Debug/net10.0" && timeout --kill-after=30s 45m "./$name" -noLogo -noColor -result-trx "$report" "$@") 2>&1 | tee "$output"
  code=${PIPESTATUS[0]}
  failures+=$(grep -A4 '\[FAIL\]$' "$output" | cut -c1-240; printf x)
  failures=${failures%x}
  counters=$(grep -o '<Counters [^>]*>' "$report" 2> /dev/null)
  count() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<< "$counters"; }
  total=$(count total) pass=$(count passed) fail=$(count failed)
  if [ -z "$total" ] || [ "$total" = 0 ]; then
    say "$name ran no test or left no report (exit code $code)"
    broken=$((broken + 1))
    continue
  fi
  passed=$((passed + pass)) failed=$((failed + fail)) skipped=$((skipped + total - pass - fail))
  # A failure outside of any test (a crashed fixture) has no counter.
  [ "$code" = 0 ] || [ "$fail" -gt 0 ] || broken=$((broken + 1))
done
give_to_caller -R "$results"
failed=$((failed + broken))
# Once more where it is seen: the full reports are far above, and in TestResults.
[ -z "$failures" ] || say "$failures"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$skipped" = 0 ]
