#!/usr/bin/env bash
# Runs every check of the project, from the set-up to the tests; no question is asked, nothing is read.
#
# usage: scripts/test.sh [--help]
#
# Stages: setup, format, clippy, check without default features, build, documentation, licences and advisories (when
# cargo-deny is installed), documentation tests, servers, tests. A stage that fails does not keep the later ones from running,
# except a build that fails. The seconds of every stage come at the end, then the summary line of cargo-nextest.
#
# Environment: GST_FACE_MODEL_PATH (models), GST_FACE_TEST_MEDIA (pictures and clips), GST_FACE_ORT_PATH (ONNX
# Runtime), GST_FACE_TEST_PYTHON (a Python with OpenCV and ONNX Runtime to compare with), GST_FACE_TEST_POSTGRES (the
# address of a PostgreSQL server with pgvector, where tests may make schemas and roles; without it one is started).
# Tests whose models, media or servers are missing say that they are skipped. The servers, S3, PostgreSQL and MQTT, are
# started before the tests and stopped at the end, on loopback.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case ${1:-} in
  "") ;;
  -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
  *) die "unknown argument '$1'" "see scripts/test.sh --help" ;;
esac

cd "$root"
exec </dev/null
scratch=$(mktemp -d)
# Below a folder of root's the server, which runs as another user, could not reach its own.
postgres=$(mktemp -d)
trap 'stop_servers; rm -rf "$scratch" "$postgres"' EXIT
seconds=() failed=()

# stage NAME COMMAND…: runs the command, notes its time and whether it failed.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  step "$name"
  "$@" || status=$?
  seconds+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
  [ $status -eq 0 ] || failed+=("$name")
  return $status
}

finish() {
  step "seconds of each stage"
  printf '%s\n' "${seconds[@]}"
  if [ ${#failed[@]} -gt 0 ]; then printf '\nfailed:'; printf ' %s;' "${failed[@]}"; printf '\n'; fi
  # The last line is the runner's own count, so that whoever reads only that reads the truth.
  [ ! -f "$scratch/nextest.log" ] || grep -E '^ +Summary \[' "$scratch/nextest.log" | tail -n 1 || true
  [ ${#failed[@]} -eq 0 ] || exit 1
}

documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps; }

licences() {
  if cargo deny --version >/dev/null 2>&1; then
    cargo deny --locked check
  else
    say "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"
  fi
}

tests() {
  # The plugins of the system are scanned beforehand: a warning of one of them, made fatal, would end the scan of all.
  gst-inspect-1.0 >/dev/null 2>&1
  G_DEBUG=${G_DEBUG-fatal_warnings} cargo nextest run --locked --workspace --profile ci --color never 2>&1 |
    tee "$scratch/nextest.log"
}

# Starts the servers that are installed, and tells the tests where they are. One that is installed and does not start is
# a failure: its tests would be skipped.
start_servers() {
  local kind endpoint status=0
  if [ -z "${GST_FACE_TEST_POSTGRES:-}" ] && [ -x "$postgres_dir/$postgres_bin/postgres" ]; then
    GST_FACE_TEST_POSTGRES=$(scripts/postgres-server.sh start "$postgres") || status=1
    export GST_FACE_TEST_POSTGRES
  fi
  for kind in s3s moto; do
    if endpoint=$(scripts/s3-server.sh start "$kind" "$scratch/$kind"); then
      GST_FACE_TEST_S3="${GST_FACE_TEST_S3:+$GST_FACE_TEST_S3 }$kind=$endpoint"
    else
      status=1
    fi
  done
  if command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ]; then
    GST_FACE_TEST_MQTT=$(scripts/mqtt-server.sh start "$scratch/mqtt") || status=1
  fi
  export GST_FACE_TEST_MQTT=${GST_FACE_TEST_MQTT:-}
  export GST_FACE_TEST_S3=${GST_FACE_TEST_S3:-} GST_FACE_TEST_S3_KEY=$s3_test_key GST_FACE_TEST_S3_SECRET=$s3_test_secret
  say "PostgreSQL ${GST_FACE_TEST_POSTGRES:-none: tests of shared galleries are skipped}"
  say "MQTT       ${GST_FACE_TEST_MQTT:-none: tests on an MQTT broker are skipped}"
  say "S3         ${GST_FACE_TEST_S3:-none: tests on S3 servers are skipped}"
  return $status
}

stop_servers() {
  local kind
  for kind in s3s moto; do scripts/s3-server.sh stop "$scratch/$kind" || true; done
  scripts/mqtt-server.sh stop "$scratch/mqtt" || true
  scripts/postgres-server.sh stop "$postgres" || true
}

stage "setup" scripts/setup.sh --tests || { finish; exit 1; }

export_runtime
if [ -z "${GST_FACE_TEST_MEDIA:-}" ] && [ -d "$shared_media" ]; then
  GST_FACE_TEST_MEDIA=$(cd "$shared_media" && pwd)
  export GST_FACE_TEST_MEDIA
fi
if [ -z "${GST_FACE_TEST_PYTHON:-}" ] && [ -x "$test_python" ]; then
  export GST_FACE_TEST_PYTHON=$test_python
fi
# A registry of its own: the tests neither see nor change what the user's GStreamer remembers of plugins.
export GST_REGISTRY=$scratch/registry.bin
say "models  ${GST_FACE_MODEL_PATH:-none: tests on real models are skipped}"
say "media   ${GST_FACE_TEST_MEDIA:-none: tests on real pictures and clips are skipped}"
say "runtime ${GST_FACE_ORT_PATH:-${ORT_DYLIB_PATH:-as face-core finds it}}"

stage "cargo fmt" cargo fmt --all --check || true
stage "cargo clippy" cargo clippy --locked --workspace --all-targets -- -D warnings || true
stage "cargo check, no default features" cargo check --locked -p face-core --no-default-features || true
# Tests start facectl and load the plugin as a user does, from the files themselves.
stage "cargo build" cargo build --locked --workspace || { finish; exit 1; }
stage "cargo doc" documentation || true
stage "cargo deny" licences || true
stage "cargo test --doc" cargo test --locked --workspace --doc || true
stage "servers" start_servers || true
stage "cargo nextest" tests || true
finish
