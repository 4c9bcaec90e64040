#!/bin/bash
# check.sh installed|subdirectory static|shared CMAKE COMPILER SOURCE_DIR BUILD_DIR SCRATCH_DIR
# Builds the consumer project next to this script and runs its program, once for each way to use Retort.
set -euo pipefail
way=$1 kind=$2 cmake=$3 compiler=$4 source=$5 build=$6 scratch=$7/$1
consumer=$(dirname "$(realpath "$0")")/consumer
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch"
shared=$([ "$kind" = shared ] && echo ON || echo OFF)

configure() { "$cmake" -S "$consumer" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" --log-level=NOTICE "$@"; }

run() {  # run NAME PROGRAM
  echo "== $1"
  "$2" "$scratch/student.safetensors"
}

# A shared library exports the declarations in the marked namespaces of the installed headers. Its other
# exported symbols are weak or unique, or types of the C++ library: template instances, which each program
# also has.
check_exports() {  # check_exports PREFIX
  local exported headers name
  exported=$(nm -DC --defined-only "$(find "$1" -name libretort.so)" | cut -d' ' -f2- | grep '^[^Wu] ' | grep -v ' for std::')
  if grep -vE '^. (retort::|(typeinfo|typeinfo name|vtable) for retort::|retort_cpu_is_checked$)' <<<"$exported" ||
    grep -E 'retort::(kernels|lanes)|anonymous namespace' <<<"$exported"; then
    echo "the shared library exports these"
    return 1
  fi
  headers=$(grep -rl RETORT_EXPORT "$1/include")
  for name in $(grep -oE 'retort::((detail|init|metrics)::)?[A-Za-z_0-9]+' <<<"$exported" | sed 's/.*:://' | sort -u); do
    # shellcheck disable=SC2086  # a list of files
    grep -qw "$name" $headers || { echo "the shared library exports $name, which no header declares"; return 1; }
  done
}

# Moves the prefix after the installation: a package must not depend on its original location.
check_installed() {  # check_installed BUILD_DIR
  if [ -e "$1/retort.pc" ] || [ -e "$1/retortConfig.cmake" ]; then
    echo "the build folder holds files that fit only an installed package"
    return 1
  fi
  "$cmake" --install "$1" --prefix "$scratch/first_prefix" >install.log
  mv first_prefix prefix
  local prefix=$scratch/prefix
  if [ -n "$(find "$prefix/include" -name '*_impl.hpp')" ]; then
    echo "an internal header was installed"
    return 1
  fi

  if [ "$kind" = shared ]; then check_exports "$prefix"; fi
  configure -B find_package -DCMAKE_PREFIX_PATH="$prefix"
  "$cmake" --build find_package
  run "find_package, $kind" find_package/consumer
  if [ "$kind" = static ] && [ "$(uname -m)" = x86_64 ]; then
    # No pipe: grep -q exits at the first match, and SIGPIPE would end nm.
    nm find_package/consumer >symbols
    grep -q retort_cpu_is_checked symbols || { echo "the processor is not checked"; return 1; }
  fi

  local pc
  pc=$(dirname "$(find "$prefix" -name retort.pc)")
  read -ra flags <<<"$(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs retort)"
  "$compiler" -std=c++20 "$consumer"/*.cpp "${flags[@]}" -Wl,-rpath,"$(dirname "$pc")" -o with_pkg_config
  run "pkg-config, $kind" ./with_pkg_config
}

case $way in
  installed) check_installed "$build" ;;
  subdirectory)
    # The other kind is only configured, which shows whether its targets lack a dependency.
    configure -B other_kind -DRETORT_SOURCE="$source" -DBUILD_SHARED_LIBS=$([ "$shared" = ON ] && echo OFF || echo ON)
    # The kernels for the oldest processors are the quickest to compile, and no other test builds them.
    arch=$([ "$(uname -m)" = x86_64 ] && echo x86-64 || echo native)
    configure -B subdirectory -DRETORT_SOURCE="$source" -DBUILD_SHARED_LIBS="$shared" -DRETORT_INSTALL=ON \
      -DCMAKE_CXX_FLAGS=-O0 -DRETORT_ARCH="$arch"
    "$cmake" --build subdirectory
    run "add_subdirectory, $kind" subdirectory/consumer
    check_installed subdirectory
    ;;
esac
