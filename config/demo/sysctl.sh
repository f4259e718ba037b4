#!/usr/bin/env bash
# Sets kernel parameters in the current network namespace: sysctl.sh net/ipv4/ip_forward=1 ...
set -euo pipefail

for setting in "$@"; do
    file=/proc/sys/${setting%%=*}
    # A kernel without IPv6 needs nothing switched off.
    [[ -e $file || $file != */ipv6/* ]] || continue
    echo "${setting#*=}" >"$file"
done
