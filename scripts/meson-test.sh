#!/usr/bin/env bash
# Called by meson.build: the tests alone, with the models and the runtime that scripts/setup.sh left.
# The whole set of checks is scripts/test.sh.
#
# usage: meson-test.sh CARGO SOURCE_DIR
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cargo=$1
cd "$2"
export_runtime
# Tests start facectl and load the plugin as a user does, from the files themselves.
"$cargo" build --locked --workspace
exec "$cargo" nextest run --locked --workspace --profile ci
