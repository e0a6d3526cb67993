#!/bin/sh
# Builds a wheel with a tamis binary in it: build.sh FOLDER [BINARY]
#
# FOLDER is where the wheel goes, BINARY by default the release build of this repository. PYTHON names the interpreter, which needs
# pip, setuptools and wheel.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  echo "usage: build.sh FOLDER [BINARY]" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=${2:-${CARGO_TARGET_DIR:-$root/target}/release/tamis}
if [ ! -x "$binary" ]; then
  echo "error: there is no binary \`$binary\`" >&2
  exit 2
fi
mkdir -p "$1"
wheels=$(cd "$1" && pwd)

clean() {
  rm -rf "$here/src/tamis_spark/bin" "$here/build" "$here/src/tamis_spark.egg-info"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
clean
mkdir "$here/src/tamis_spark/bin"
cp "$binary" "$here/src/tamis_spark/bin/tamis"
chmod 755 "$here/src/tamis_spark/bin/tamis"
"${PYTHON:-python3}" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$wheels" "$here"
