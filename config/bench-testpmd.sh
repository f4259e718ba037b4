#!/usr/bin/env bash
# make bench-testpmd: packets a second through pollvsd between two processes of DPDK's testpmd, as a check from outside:
#
#     testpmd txonly ===LINK===> outside [pollvsd] inside ===LINK===> testpmd rxonly
#
# Datagrams of 64 bytes, by the wire's count, from the clients that testpmd makes up to a UDP service. With fewer than three cores there
# is none for rxonly: what pollvsd sends is then taken by a null device, and it says so. Needs root and no network card; leaves nothing
# behind.
#
#   LINK=memif (memif-zero-copy, vhost)   METHOD=dr (nat, tun)   SINK=null (rxonly)   SECONDS_EACH=5   POLLVSD=...   POLLVS=...
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
POLLVSD=$(realpath "${POLLVSD:-$HERE/../target/release/pollvsd}")
POLLVS=$(realpath "${POLLVS:-$HERE/../target/release/pollvs}")
LINK=${LINK:-memif}
METHOD=${METHOD:-dr}
SECONDS_EACH=${SECONDS_EACH:-5}
# MACs: pollvsd's ports, and the real server's.
OUTSIDE=02:00:00:00:01:01
INSIDE=02:00:00:00:01:02
SERVER=02:00:00:00:01:0b
CORES=$(nproc)
SINK=${SINK:-$( ((CORES >= 3)) && echo rxonly || echo null)}
STARTED=()

main() {
    case $LINK in memif | memif-zero-copy | vhost) ;; *) fail "LINK is memif, memif-zero-copy or vhost, not $LINK" ;; esac
    case $METHOD in dr | nat | tun) ;; *) fail "METHOD is dr, nat or tun, not $METHOD" ;; esac
    case $SINK in null | rxonly) ;; *) fail "SINK is null or rxonly, not $SINK" ;; esac
    ((CORES >= 2)) || fail "pollvsd and testpmd need a core each, and there is one"
    FOLDER=$(mktemp -d -t pollvs-testpmd-XXXXXX)
    NETNS=pollvs-testpmd-$$
    trap undo EXIT
    trap 'exit 130' INT HUP TERM
    # testpmd ends when it has read a line, or the end: nothing is ever written to this.
    mkfifo "$FOLDER/silence"
    exec 3<>"$FOLDER/silence"
    ip netns add "$NETNS"
    choose_sink
    start_pollvsd
    start_source
    measure
}

fail() {
    echo "$*" >&2
    if [[ -d ${FOLDER-} ]]; then
        tail -n 5 "$FOLDER"/*.log >&2 || true
    fi
    exit 1
}

undo() {
    trap '' INT HUP TERM
    local pid
    for pid in "${STARTED[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    ip netns del "$NETNS" 2>/dev/null || true
    rm -rf "$FOLDER"
}

# A device's arguments at pollvsd's end and at testpmd's: ours NUMBER NAME MAC, theirs NUMBER NAME
ours() {
    case $LINK in
    memif*) echo "net_memif$1,role=server,socket=$FOLDER/$2.sock,socket-abstract=no,mac=$3" ;;
    vhost) echo "net_vhost$1,iface=$FOLDER/$2.sock,queues=1" ;;
    esac
}

theirs() {
    case $LINK in
    memif) echo "net_memif$1,role=client,socket=$FOLDER/$2.sock,socket-abstract=no" ;;
    memif-zero-copy) echo "net_memif$1,role=client,socket=$FOLDER/$2.sock,socket-abstract=no,zero-copy=yes" ;;
    vhost) echo "net_virtio_user$1,path=$FOLDER/$2.sock,queues=1" ;;
    esac
}

# testpmd LOG CORE DEVICE WORDS...: one forwarding core, and its main thread on the same, which only waits.
testpmd() {
    local log=$1 core=$2 device=$3
    shift 3
    # memif's zero copy hands its memory over by files, of which there must not be many.
    dpdk-testpmd --no-huge --single-file-segments -m 256 --no-pci --no-telemetry --log-level=error --file-prefix="$log-$$" \
        --lcores "0@$core,1@$core" --vdev "$device" -- \
        --auto-start --nb-cores=1 --total-num-mbufs=8191 --no-mlockall --stats-period=1 "$@" \
        <&3 >"$FOLDER/$log.log" 2>&1 &
    STARTED+=($!)
}

# What takes the packets that pollvsd sends.
choose_sink() {
    SINK_CORE=$((CORES >= 3 ? 2 : 0))
    if [[ $SINK == rxonly ]]; then
        SINK_DEVICE=$(ours 1 inside "$INSIDE")
        echo "testpmd txonly on core 0, pollvsd on core 1, testpmd rxonly on core $SINK_CORE; $LINK between them"
    else
        SINK_DEVICE=net_null1,no-rx=1
        echo "testpmd txonly on core 0, pollvsd on core 1, $LINK between them; a null device takes what pollvsd sends"
    fi
}

start_pollvsd() {
    cat >"$FOLDER/pollvsd.toml" <<TOML
[director]
workers = 1
cpus = [1]
control_cpu = 0
idle = "spin"
socket = "$FOLDER/control.sock"
state = ""

[dpdk]
memory_mb = 256
huge = "never"

[[port]]
name = "outside"
device = "$(ours 0 outside "$OUTSIDE")"
addresses = ["203.0.113.1/24", "192.0.2.10/32"]

[[port]]
name = "inside"
device = "$SINK_DEVICE"
addresses = ["198.51.100.1/24"]

[[service]]
protocol = "udp"
address = "192.0.2.10"
port = 80

[[service.destination]]
address = "198.51.100.11:80"
method = "$METHOD"
TOML
    ip netns exec "$NETNS" "$POLLVSD" --config "$FOLDER/pollvsd.toml" </dev/null >"$FOLDER/pollvsd.log" 2>&1 &
    STARTED+=($!)
    wait_for 15 "$POLLVS" --socket "$FOLDER/control.sock" status || fail "pollvsd did not start"
    if [[ $SINK == rxonly ]]; then
        testpmd rxonly "$SINK_CORE" "$(theirs 1 inside)" --forward-mode=rxonly
    fi
    ip -n "$NETNS" neigh replace 198.51.100.11 lladdr "$SERVER" dev inside
    ip -n "$NETNS" neigh replace 203.0.113.254 lladdr "$SERVER" dev outside
    ip -n "$NETNS" route replace default via 203.0.113.254 dev outside
}

start_source() {
    local mac
    mac=$(value mac outside)
    testpmd txonly 0 "$(theirs 0 outside)" --forward-mode=txonly --txonly-multi-flow --eth-peer="0,${mac//\"/}" \
        --tx-ip=10.0.0.1,192.0.2.10 --tx-udp=1024,80 --txpkts=60
    wait_for 15 has_begun || fail "no packet came through"
    sleep 1
}

# A value of a port as pollvsd counts it: value KEY PORT
value() {
    "$POLLVS" --socket "$FOLDER/control.sock" ports --json | python3 -c '
import json, sys
key, name = sys.argv[1:]
port = next(port for port in json.load(sys.stdin)["ports"] if port["name"] == name)
print(port[key] if key in port else port["counters"][key])' "$1" "$2"
}

has_begun() {
    (($(value tx_packets inside) > 1000))
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        ((tries-- > 0)) || return 1
        sleep 0.1
    done
}

measure() {
    local before after start end
    before=$(value tx_packets inside) start=$(date +%s%N)
    sleep "$SECONDS_EACH"
    after=$(value tx_packets inside) end=$(date +%s%N)
    awk -v packets=$((after - before)) -v ns=$((end - start)) -v link="$LINK" -v method="$METHOD" 'BEGIN {
        printf "%s, %s: %.2f Mpps through pollvsd\n", link, method, packets / ns * 1e3
    }'
    "$POLLVS" --socket "$FOLDER/control.sock" workers
    (($(value tx_packets inside) > before)) || fail "nothing was forwarded"
}

main "$@"
