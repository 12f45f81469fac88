#!/bin/sh
# Builds and runs the consumer project, and the programs of the documents, in one of
# the ways in which somebody takes up the library:
#   run_consumer.sh installed|shared|pkg-config SOURCE_DIR BUILD_DIR WORK_DIR
# shared: as a subdirectory of the consumer's project that builds shared libraries, and
# then as what that subdirectory installs. One compilation of the library serves both.
set -eu
mode=$1 source=$2 build=$3 work=$4

rm -rf "$work"
mkdir -p "$work"
documents="README.md docs/embedding.md docs/snapshots.md"
# These are long, and about functions that are the same however one links: once will do.
[ "$mode" != installed ] || documents="$documents docs/usage_guide.md docs/device_models.md docs/jit.md"
# shellcheck disable=SC2086  # documents are words
programs="$source/tests/consumer/contract.cc
$(cd "$source" && python3 tools/extract_examples.py "$work/examples" $documents)"
[ "$mode" != installed ] || programs="$programs
$source/examples/engine_in_c.c"

configure() {
  cmake -S "$source/tests/consumer" -B "$work/consumer" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DPROGRAMS="$(echo "$programs" | paste -sd ';' -)" "$@"
}

# Builds the consumer, where that is not done, and runs every program, in a folder that it may
# write to. What one of the examples prints lies beside it.
run_programs() {
  [ "$mode" = pkg-config ] || cmake --build "$work/consumer"
  count=0
  for program in $programs; do
    name=$(basename "${program%.c*}")
    (cd "$work" && "$work/consumer/$name") >"$work/output" || { echo "$mode: $name exited with $?" >&2; exit 1; }
    cat "$work/output"
    [ ! -f "${program%.c*}.txt" ] || diff "${program%.c*}.txt" "$work/output"
    count=$((count + 1))
  done
}

case $mode in
  installed)
    cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
    configure -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_FLAGS_RELEASE='-O0 -DNDEBUG'
    ;;
  shared)
    configure -DVM_SOURCE_DIR="$source" -DBUILD_SHARED_LIBS=ON -DVM_INSTALL=ON -DVM_UNITY_BUILD=ON \
      -DCMAKE_CXX_FLAGS_RELEASE='-O0 -DNDEBUG'
    run_programs
    cmake --install "$work/consumer" --prefix "$work/prefix" >"$work/install.log"
    rm -rf "$work/consumer"
    configure -DCMAKE_PREFIX_PATH="$work/prefix"
    ;;
  pkg-config)
    cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
    PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name vm-mem.pc)")
    export PKG_CONFIG_PATH
    mkdir "$work/consumer"
    for program in $programs; do
      # shellcheck disable=SC2046  # the flags are words
      c++ -std=c++20 -O2 "$program" -o "$work/consumer/$(basename "$program" .cc)" \
        $(pkg-config --static --cflags --libs vm-mem-snapshot vm-device vm-engine)
    done
    ;;
  *)
    echo "run_consumer.sh: unknown mode $mode" >&2
    exit 2
    ;;
esac

run_programs
echo "$mode: $count programs built and run"
