#!/usr/bin/env bash
# Called by meson.build: builds the release with cargo and puts its two files where meson expects them.
#
# usage: meson-build.sh CARGO SOURCE_DIR TARGET_DIR PLUGIN_OUTPUT FACECTL_OUTPUT
set -euo pipefail
cargo=$1 source_dir=$2 target_dir=$3 plugin=$4 facectl=$5

"$cargo" build --release --locked --manifest-path "$source_dir/Cargo.toml" --target-dir "$target_dir" \
  -p gst-plugin-face -p facectl --features simd-kernels
install -m 755 "$target_dir/release/libgstface.so" "$plugin"
install -m 755 "$target_dir/release/facectl" "$facectl"
