#!/usr/bin/env bash
# How the demo speaks: headings, what it does, what it finds, and why it gives up. Sourced by demo.sh.

if [[ -t 1 ]]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; else BOLD='' PLAIN=''; fi

heading() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }

say() { printf '   %s\n' "$*"; }

# Shows a command as it would be typed, then runs it.
type_and_run() {
    printf '   $ %s\n' "$*"
    "$@"
}

# Indents what a command prints, and cuts it after N lines: shorten 12 < text
shorten() {
    awk -v limit="$1" 'NR <= limit { print "   " $0 } END { if (NR > limit) print "   ... and " NR - limit " lines more" }'
}

# Says what was expected and what pollvsd said, and ends the demo.
fail() {
    printf '\n%sFAILED:%s %s\n' "$BOLD" "$PLAIN" "$*" >&2
    if [[ -s ${TESTBED_FOLDER-}/pollvsd.log ]]; then
        echo "pollvsd's last words:" >&2
        tail -n 40 "$TESTBED_FOLDER/pollvsd.log" >&2
    fi
    exit 1
}
