#!/usr/bin/env bash
# Builds the pages in build/docs/html. Fails if Doxygen warns, which it also does about an undocumented
# declaration in a public header.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build/docs
rm -rf build/docs/html build/docs/include
# The include root of the sources, so that pages show <retort/...>.
mkdir -p build/docs/include/retort
for folder in framework losses optim; do ln -s "$PWD/$folder" build/docs/include/retort/; done
doxygen docs/Doxyfile 2>build/docs/warnings.txt
if [ -s build/docs/warnings.txt ]; then
  cat build/docs/warnings.txt >&2
  exit 1
fi
echo "build/docs/html/index.html"
