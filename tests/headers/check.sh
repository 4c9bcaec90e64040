#!/bin/bash
# check.sh COMPILER INCLUDE_ROOT: each public header compiles alone and without a warning, none reaches a third
# party's header or one of the library's that is not installed, and the sum of them is light to include.
set -euo pipefail
compiler=$1
include=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

flags=(-std=c++20 -I"$include" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror)
foreign='/(xtensor|xtl|xsimd|nlohmann|boost|CLI)/|cblas|openblas|/zlib\.h|_impl\.hpp'
lines_allowed=60000
seconds_allowed=5 # on a busy machine; an idle one must stay under 1.5

cd "$include"
headers=$(find -L retort -name '*.hpp' ! -name '*_impl.hpp' | sort)
[ -n "$headers" ] || fail "no header below $include"

"$compiler" "${flags[@]}" -M -x c++ - <<<'#include <retort/retort.hpp>' >"$scratch/all.d"
for header in $headers; do
  if ! "$compiler" "${flags[@]}" -fsyntax-only -MD -MF "$scratch/header.d" -x c++ - <<<"#include <$header>"; then
    fail "$header does not compile alone"
    continue
  fi
  # The bridge to xtensor is the one header that users opt into.
  [ "$header" != retort/framework/xtensor.hpp ] || continue
  reached=$(tr ' ' '\n' <"$scratch/header.d" | grep -E "$foreign" | head -n 3 | tr '\n' ' ' || true)
  [ -z "$reached" ] || fail "$header reaches $reached"
  # Kernels are for those who write ops; but for what calls itself internal, all else is in the header of headers.
  case $header in retort/framework/kernels/*) continue ;; esac
  ! head -n 3 "$header" | grep -q Internal || continue
  grep -qF "/$header" "$scratch/all.d" || fail "retort/retort.hpp does not include $header"
done

lines=$("$compiler" -std=c++20 -I"$include" -E -x c++ - <<<'#include <retort/retort.hpp>' | wc -l)
[ "$lines" -le "$lines_allowed" ] || fail "<retort/retort.hpp> preprocesses to $lines lines, $lines_allowed allowed"

printf '#include <retort/retort.hpp>\nint main() {}\n' >"$scratch/user.cpp"
best=""
for _ in 1 2 3; do
  TIMEFORMAT=%R
  seconds=$({ time "$compiler" -std=c++20 -O2 -I"$include" -c "$scratch/user.cpp" -o "$scratch/user.o"; } 2>&1)
  if [ -z "$best" ] || awk "BEGIN { exit !($seconds < $best) }"; then best=$seconds; fi
done
awk "BEGIN { exit !($best <= $seconds_allowed) }" || fail "a file with <retort/retort.hpp> takes $best s to compile"

echo "$(wc -w <<<"$headers") headers; <retort/retort.hpp> preprocesses to $lines lines and compiles in $best s with -O2"
[ "$failures" -eq 0 ]
