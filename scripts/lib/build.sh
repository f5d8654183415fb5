# Sourced; needs $root and progress.sh.

# build_tree FOLDER TARGETS... -- MESON_OPTIONS...: configures once, then builds (all without targets).
build_tree() {
  local folder=$1 targets=(); shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do targets+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  if [ ! -f "$folder/build.ninja" ]; then meson setup "$folder" "$root" "$@" || return; fi
  ninja -C "$folder" "${targets[@]}"
}

build() {
  step "Building" build_tree "$root/build"
}
