#!/usr/bin/env bash
# Builds and runs every test assembly, and prints last one line with the sums of their reports.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT" || exit 1
need_root "running the tests against real components" test
case $STORE in embedded | etcd) ;; *) die "STORE=$STORE: write embedded or etcd" ;; esac
export HYPERVISOR_TEST_STORE=$STORE
# What tests of `make run` call is a make of its own.
unset STORE MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES
results=$ROOT/TestResults
rm -rf "$results"
mkdir -p "$results"
give_to_caller "$results"

# Without analyzers, which are `make lint`'s and take most of the time of a build.
scripts/as-caller.sh dotnet build Hypervisor.slnx -c Debug -v q -p:RunAnalyzers=false || die "the build failed"

passed=0 failed=0 skipped=0 broken=0 failures=
# run NAME REPORT ARGUMENTS...: one assembly, once.
run() {
  local name=$1 report=$results/$2.trx output=$results/$2.log code counters total pass fail began=$SECONDS; shift 2
  (cd "test/$name/bin/Debug/net10.0" && timeout --kill-after=30s 60m "./$name" -noLogo -noColor -result-trx "$report" "$@") 2>&1 | tee "$output"
  code=${PIPESTATUS[0]}
  say "$name took $((SECONDS - began)) s"
  failures+=$(grep -A4 '\[FAIL\]$' "$output" | cut -c1-240; printf x)
  failures=${failures%x}
  counters=$(grep -o '<Counters [^>]*>' "$report" 2> /dev/null)
  count() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<< "$counters"; }
  total=$(count total) pass=$(count passed) fail=$(count failed)
  if [ -z "$total" ] || [ "$total" = 0 ]; then
    say "$name ran no test or left no report (exit code $code)"
    broken=$((broken + 1))
    return
  fi
  passed=$((passed + pass)) failed=$((failed + fail)) skipped=$((skipped + total - pass - fail))
  # A failure outside of any test (a crashed fixture) has no counter.
  [ "$code" = 0 ] || [ "$fail" -gt 0 ] || broken=$((broken + 1))
}
for project in test/*/*.csproj; do
  name=$(basename "$project" .csproj)
  if ! grep -q IsTestProject "$project"; then
    ! grep -q xunit.v3 "$project" || { say "$name has tests that nobody runs: it lacks IsTestProject"; broken=$((broken + 1)); }
    continue
  fi
  say "── $name"
  run "$name" "$name" "$@"
done
if [ "$HYPERVISOR_TEST_STORE" = embedded ] && [ $# = 0 ]; then
  # What goes through the API and the store, once more on the other store; the stores' own tests have run on both already.
  say "── Hypervisor.ClusterTests on etcd"
  HYPERVISOR_TEST_STORE=etcd run Hypervisor.ClusterTests Hypervisor.ClusterTests.etcd -trait Store=either
fi
give_to_caller -R "$results"
failed=$((failed + broken))
# Once more where it is seen: the full reports are far above, and in TestResults.
[ -z "$failures" ] || say "$failures"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$skipped" = 0 ]
