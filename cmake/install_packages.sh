#!/bin/sh
# install_packages.sh GROUP...: installs the missing packages of the groups (build, text, docs,
# bench, mpi, format, clang, fuzz) with apt, as root or through sudo. If that is impossible, prints the names
# of the packages and fails. Does not run apt if no package is missing.
set -eu

program() { command -v "$1" >/dev/null 2>&1; }
header() {
  for folder in /usr/include /usr/local/include /usr/include/*-linux-gnu; do
    [ -e "$folder/$1" ] && return
  done
  return 1
}
library() {
  for file in /usr/lib/lib$1.so /usr/lib64/lib$1.so /usr/local/lib/lib$1.so /usr/lib/*-linux-gnu/lib$1.so; do
    [ -e "$file" ] && return
  done
  return 1
}
runtime() {  # one of clang's runtime libraries
  for file in /usr/lib/llvm-16/lib/clang/16/lib/linux/libclang_rt."$1"-*.a; do
    [ -e "$file" ] && return
  done
  return 1
}

missing=""
need() {  # need PACKAGE TEST...
  package=$1
  shift
  "$@" || missing="$missing $package"
}

for group in "$@"; do
  case $group in
    build)
      need g++ program g++
      need cmake program cmake
      need ninja-build program ninja
      need pkg-config program pkg-config
      need libxtensor-dev header xtensor/xarray.hpp
      need libxsimd-dev header xsimd/xsimd.hpp
      need libboost-test-dev library boost_unit_test_framework
      need nlohmann-json3-dev header nlohmann/json.hpp
      need libopenblas-pthread-dev library openblas
      need libboost-dev header boost/math/distributions/students_t.hpp
      need libcli11-dev header CLI/CLI.hpp
      need zlib1g-dev header zlib.h
      need dataset-fashion-mnist test -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
      ;;
    text)
      need bible-kjv program bible
      need bible-kjv-text test -e /usr/lib/bible.data
      ;;
    docs) need doxygen program doxygen ;;
    bench) need libbenchmark-dev header benchmark/benchmark.h ;;
    mpi)
      need openmpi-bin program mpirun
      need libopenmpi-dev program mpicxx
      ;;
    format) need clang-format-16 program clang-format-16 ;;
    clang) need clang-16 program clang++-16 ;;
    fuzz)
      need clang-16 program clang++-16
      need libclang-rt-16-dev runtime fuzzer
      ;;
    *)
      echo "install_packages.sh: unknown group '$group'" >&2
      echo "the groups are build, text, docs, bench, mpi, format, clang and fuzz" >&2
      exit 2
      ;;
  esac
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  as_root=sudo
fi
if ! program apt-get || { [ -n "$as_root" ] && ! program sudo; }; then
  echo "These packages (by their Debian names) are missing, and only root can install them:$missing" >&2
  exit 1
fi
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends $missing
