#!/bin/sh
# compare_output.sh FILE PROGRAM...: whether the program succeeds, and prints what is in FILE.
set -eu
expected=$1
shift
output=$("$@")
printf '%s\n' "$output" | diff "$expected" -
