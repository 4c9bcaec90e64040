#!/bin/bash
# cost.sh COMPILER INCLUDE_ROOT: measures and bounds the cost of <retort/retort.hpp> for a user's file.
set -euo pipefail
compiler=$1
include=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

lines_allowed=60000 # preprocessed
code_allowed=42000  # without blank lines, which comments leave
seconds_allowed=5 # CPU time on a slow or busy machine; an idle one should need less than 1.5

printf '#include <retort/retort.hpp>\nint main() {}\n' >"$scratch/user.cpp"
lines=$("$compiler" -std=c++20 -I"$include" -E "$scratch/user.cpp" | wc -l)
code=$("$compiler" -std=c++20 -I"$include" -E -P "$scratch/user.cpp" | wc -l)
best=""
for _ in 1 2 3; do
  TIMEFORMAT='%U %S' # only the CPU time of the compiler, not of other processes
  times=$({ time "$compiler" -std=c++20 -O2 -I"$include" -c "$scratch/user.cpp" -o "$scratch/user.o"; } 2>&1)
  seconds=$(awk '{ print $1 + $2 }' <<<"$times")
  if [ -z "$best" ] || awk "BEGIN { exit !($seconds < $best) }"; then best=$seconds; fi
done

echo "<retort/retort.hpp>: $lines lines preprocessed ($lines_allowed allowed), of which $code of code" \
  "($code_allowed allowed), $best s to compile with -O2"
[ "$lines" -le "$lines_allowed" ] && [ "$code" -le "$code_allowed" ] &&
  awk "BEGIN { exit !($best <= $seconds_allowed) }"
