#!/bin/bash
# alone.sh COMPILER INCLUDE_ROOT [HEADER]: each public header compiles alone without a warning, reaches
# neither a third party's header nor one of the library's that is not installed, and is in retort.hpp.
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
# The bridge to xtensor is the one header that users opt into.
[ "$header" != retort/framework/xtensor.hpp ] || exit 0
reached=$(tr -s ' ' '\n' <<<"$reached" | grep -m 3 -E "$foreign" | tr '\n' ' ')
if [ -n "$reached" ]; then
  echo "$header reaches $reached"
  exit 1
fi
# Kernels are for authors of operations. All other headers, except internal ones, are part of the umbrella
# header.
case $header in retort/retort.hpp | retort/framework/fused.hpp | retort/framework/kernels/*) exit 0 ;; esac
if ! grep -q Internal <<<"$(head -n 3 "$header")" && ! grep -qF "/$header" <<<"$RETORT_HPP_INCLUDES"; then
  echo "retort/retort.hpp does not include $header"
  exit 1
fi
