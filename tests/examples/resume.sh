#!/bin/bash
# resume.sh PROGRAM [ARGUMENTS]: checks that a run of an example that is killed at random times ends with the
# same files as an uninterrupted one.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
begin=$(date +%s%N)
"$@" --out "$scratch/whole" >"$scratch/whole.out" 2>"$scratch/whole.err" || {
  cat "$scratch/whole.err"
  exit 1
}
took=$((($(date +%s%N) - begin) / 1000000)) # milliseconds
kills=0
for part in 15 30 45 60 75; do
  limit=$((took * part / 100 * (80 + RANDOM % 40) / 100 + 10))
  status=0
  timeout -s KILL "$((limit / 1000)).$(printf %03d $((limit % 1000)))" \
    "$@" --out "$scratch/killed" --checkpoint-every 0 >/dev/null 2>&1 || status=$?
  [ "$status" -ne 137 ] || kills=$((kills + 1))
done
"$@" --out "$scratch/killed" --checkpoint-every 0 >"$scratch/killed.out" 2>"$scratch/killed.err" || {
  cat "$scratch/killed.err"
  exit 1
}
cd "$scratch/whole"
compared=0
for file in *.safetensors settings.json *.jsonl; do
  cmp "$file" "$scratch/killed/$file"
  compared=$((compared + 1))
done
[ "$compared" -gt 5 ] && [ -s "$scratch/killed/report.html" ]
echo "$compared files are the same after $kills kills"
