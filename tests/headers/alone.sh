#!/bin/bash
# alone.sh COMPILER INCLUDE_ROOT [HEADER]: checks that each public header compiles alone without a warning,
# includes neither third-party headers nor headers that are not installed, is included in retort.hpp, and
# marks its namespace for export.
set -uo pipefail
self=$(realpath "$0")
compiler=$1
include=$2

flags=(-std=c++20 -I"$include" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror)
foreign='/(xtensor|xtl|xsimd|nlohmann|boost|CLI)/|cblas|openblas|/zlib\.h|_impl\.hpp'
cd "$include" || exit

if [ $# -eq 2 ]; then
  all='#include <retort/retort.hpp>'
  RETORT_HPP_INCLUDES=$("$compiler" -std=c++20 -I"$include" -MM -x c++ - <<<"$all") || exit
  export RETORT_HPP_INCLUDES
  find -L retort -name '*.hpp' ! -name '*_impl.hpp' -print0 | sort -z |
    xargs -0 --no-run-if-empty -n 1 -P "$(nproc)" "$self" "$compiler" "$include" && exit
  echo "some headers failed"
  exit 1
fi

header=$3
reached=$("$compiler" "${flags[@]}" -fsyntax-only -MD -MF /dev/stdout -x c++ - <<<"#include <$header>") || {
  echo "$header does not compile alone"
  exit 1
}
# Users include the bridge to xtensor explicitly.
[ "$header" != retort/framework/xtensor.hpp ] || exit 0
reached=$(tr -s ' ' '\n' <<<"$reached" | grep -m 3 -E "$foreign" | tr '\n' ' ')
if [ -n "$reached" ]; then
  echo "$header reaches $reached"
  exit 1
fi
# Kernels are for authors of operations. retort.hpp includes all other headers, except internal ones.
case $header in retort/retort.hpp | retort/framework/fused.hpp | retort/framework/kernels/*) exit 0 ;; esac
if ! grep -q Internal <<<"$(head -n 3 "$header")" && ! grep -qF "/$header" <<<"$RETORT_HPP_INCLUDES"; then
  echo "retort/retort.hpp does not include $header"
  exit 1
fi
if grep -n '^namespace retort {' "$header"; then
  echo "$header opens its namespace without [[RETORT_EXPORT]], so that a shared library hides what it declares"
  exit 1
fi
