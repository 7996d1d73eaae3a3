#!/usr/bin/env bash
# Called by meson.build: builds with cargo and puts what is to be installed where meson expects it.
#
# usage: meson-build.sh CARGO PROFILE SOURCE_DIR TARGET_DIR PLUGIN_OUTPUT FACECTL_OUTPUT SHARE_DIR
set -euo pipefail
cargo=$1 profile=$2 source_dir=$3 target_dir=$4 plugin=$5 facectl=$6 share=$7

# The vector instructions of large galleries take minutes to build.
features=() built=$target_dir/$profile
case $profile in
  release) features=(--features simd-kernels) ;;
  dev) built=$target_dir/debug ;;
esac
"$cargo" build --profile "$profile" --locked --manifest-path "$source_dir/Cargo.toml" --target-dir "$target_dir" \
  -p gst-plugin-face -p facectl "${features[@]}"
install -m 755 "$built/libgstface.so" "$plugin"
install -m 755 "$built/facectl" "$facectl"

# Manual pages and completions come from facectl itself. Made anew, so that what is gone there goes here.
rm -rf "$share"
"$built/facectl" man "$share/man/man1"
mkdir -p "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$built/facectl" completions bash >"$share/bash-completion/completions/facectl"
"$built/facectl" completions zsh >"$share/zsh/site-functions/_facectl"
"$built/facectl" completions fish >"$share/fish/vendor_completions.d/facectl.fish"
