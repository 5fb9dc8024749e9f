#!/bin/bash
# tsan.sh [pytest arguments]: builds with ThreadSanitizer and runs the unit tests, then the integration tests (all of them
# without arguments, some eight minutes). A report of a race fails the test that it came up in. As root, as
# tests/integration/run.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
cmake --preset tsan >/dev/null && cmake --build --preset tsan || exit 1
ctest --preset tsan
units=$?
SKIFF_BUILD=$PWD/build/tsan tests/integration/run.sh "$@" && [ $units = 0 ]
