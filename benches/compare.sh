#!/usr/bin/env bash
# Compares the elements with a peer, a Python script for OpenCV and ONNX Runtime that does the same work, and with what the
# processor can do at best.
#
# usage: benches/compare.sh [--quick] [--rounds N] [--parts PART,…] [--peer SCRIPT] [--json FILE]
#
#   --quick     one round of everything
#   --rounds N  so many rounds (5); in each, all that is compared takes turns, and the medians over the rounds count
#   --parts     same (the same work as the peer's, and the default settings), names, streams, memory, scaling, competing;
#               all of them if absent
#   --peer      the peer's script (GST_FACE_PEER, else ../shared/peers/opencv_pipeline.py beside this checkout)
#   --json      write all runs and figures to this file
#
# Prints tables, and of everything that must be reached whether it was. The comparison is void, and this script fails, if the
# faces that both found differ by more than 2 % or if they ran different versions of ONNX Runtime. Videos are made of
# the test media and kept in compare/ of cargo's target folder. Anything else that runs on the machine spoils the figures: the load
# average is printed. It takes some ten minutes on two cores.
#
# Environment: FACECTL (the program; the release build of this checkout if absent), GST_FACE_TEST_PYTHON (a Python with
# OpenCV and ONNX Runtime, as scripts/setup.sh --tests installs it), GST_FACE_MODEL_PATH, GST_FACE_TEST_MEDIA, GST_FACE_ORT_PATH.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/environment.sh"
case " $* " in *" -h "* | *" --help "*) print_help "${BASH_SOURCE[0]}"; exit 0 ;; esac
export_runtime
export LC_ALL=C
target=$(target_dir)

export FACECTL=${FACECTL:-$target/release/facectl}
[ -x "$FACECTL" ] || die "no program '$FACECTL'" "build it with cargo build --release -p facectl, or set FACECTL"
export GST_FACE_TEST_PYTHON=${GST_FACE_TEST_PYTHON:-$test_python}
"$GST_FACE_TEST_PYTHON" -c "import cv2, onnxruntime" 2>/dev/null ||
  die "'$GST_FACE_TEST_PYTHON' has no OpenCV or no ONNX Runtime" "run scripts/setup.sh --tests, or set GST_FACE_TEST_PYTHON"
command -v ffmpeg >/dev/null || die "ffmpeg is missing" "run scripts/setup.sh --tests"
export GST_FACE_PEER=${GST_FACE_PEER:-$root/../shared/peers/opencv_pipeline.py}
export GST_FACE_MODEL_PATH=${GST_FACE_MODEL_PATH:-$data_dir/models}
export GST_FACE_TEST_MEDIA=${GST_FACE_TEST_MEDIA:-$shared_media}

exec "$GST_FACE_TEST_PYTHON" -B "$root/benches/compare.py" --scratch "$target/compare" "$@" </dev/null
