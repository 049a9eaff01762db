#!/bin/sh
# Starts the program that build.sh made.
program="$(dirname "$0")/program"
if ! [ -x "$program" ]; then
    echo "there is no program yet: run build.sh" >&2
    exit 1
fi
exec "$program"
