#!/usr/bin/env bash
# make demo: a director between real clients and real servers, on one machine.
# Succeeds only if every request did, and if each server got the share that its
# scheduler owes it. Leaves nothing behind, also when interrupted.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=config/demo/testbed.sh
. "$HERE/testbed.sh"
# shellcheck source=config/demo/say.sh
. "$HERE/say.sh"

POLLVSD=${POLLVSD:-$HERE/../../target/release/pollvsd}
POLLVS=${POLLVS:-$HERE/../../target/release/pollvs}
REQUESTS=1000
CONCURRENCY=10
TOTAL=0

main() {
    TESTBED=pollvs-$$
    FOLDER=$(mktemp -d -t "$TESTBED-XXXXXX")
    TESTBED_FOLDER=$FOLDER
    trap testbed_drop EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    make_network
    start_director
    round_robin_over_nat
    weighted_over_direct_routing
    round_robin_over_tunnels
    persistent_service
    change_while_running
    closing_words
}

make_network() {
    heading "A network of its own: client, director, three real servers"
    testbed_up "$TESTBED" "$TESTBED_FOLDER"
    say "client            192.0.2.100, .101, .102        (curl, ab)"
    say "director          192.0.2.1 and 198.51.100.1     (pollvsd)"
    say "rs1, rs2, rs3     198.51.100.11, .12, .13        (nginx)"
}

start_director() {
    heading "pollvsd on the director's two interfaces (DPDK net_af_packet, no huge pages)"
    director_config "$FOLDER" >"$FOLDER/pollvsd.toml"
    start director pollvsd.log "$POLLVSD" --config "$FOLDER/pollvsd.toml"
    STARTED_DIRECTOR=$STARTED
    wait_for 100 pollvsd pollvs status || fail "pollvsd should have been ready within ten seconds"
    director_addresses
    pollvs status | shorten 12
    say "The kernel behind pollvsd answers for the virtual address:"
    inside client ping -c 3 -i 0.2 -W 2 192.0.2.10 >"$FOLDER/ping" ||
        fail "ping of 192.0.2.10 should have been answered: $(cat "$FOLDER/ping")"
    tail -n 2 "$FOLDER/ping" | head -n 1 | shorten 1
}

round_robin_over_nat() {
    heading "NAT, round robin: 192.0.2.10:80 to port 8080 of three servers"
    rule -A -t 192.0.2.10:80 -s rr
    for_servers 192.0.2.10:80 8080 -m 1 1 1
    try_by_hand 192.0.2.10
    load 192.0.2.10 nat
    shares nat 1 1 1
    table 192.0.2.10:80
}

weighted_over_direct_routing() {
    heading "DR, weighted round robin 3:2:1: 192.0.2.11:80"
    rule -A -t 192.0.2.11:80 -s wrr
    for_servers 192.0.2.11:80 80 -g 3 2 1
    try_by_hand 192.0.2.11
    load 192.0.2.11 dr
    shares dr 3 2 1
    table 192.0.2.11:80
}

round_robin_over_tunnels() {
    heading "TUN (IPIP), round robin: 192.0.2.12:80"
    rule -A -t 192.0.2.12:80 -s rr
    for_servers 192.0.2.12:80 80 -i 1 1 1
    try_by_hand 192.0.2.12
    load 192.0.2.12 tun
    shares tun 1 1 1
    table 192.0.2.12:80
}

persistent_service() {
    heading "Persistence: 192.0.2.13:80, each client stays with one server"
    rule -A -t 192.0.2.13:80 -s rr -p 300
    for_servers 192.0.2.13:80 8080 -m 1 1 1
    local client
    for client in 192.0.2.100 192.0.2.101 192.0.2.102; do
        load 192.0.2.13 "stay-${client##*.}" -B "$client"
    done
    for client in 192.0.2.100 192.0.2.101 192.0.2.102; do
        one_server_only "$client"
    done
    table 192.0.2.13:80
}

change_while_running() {
    heading "A server added and another taken away under load: 192.0.2.14:80"
    rule -A -t 192.0.2.14:80 -s rr
    rule -a -t 192.0.2.14:80 -r 198.51.100.11:8080 -m
    rule -a -t 192.0.2.14:80 -r 198.51.100.12:8080 -m
    say "ab sends requests for five seconds, in the background"
    run_ab 192.0.2.14 change 1000000 -t 5 &
    local ab=$!
    sleep 0.7
    is_running "$ab" || fail "ab should still have been running"
    rule -a -t 192.0.2.14:80 -r 198.51.100.13:8080 -m
    sleep 0.7
    take_away_rs1
    is_running "$ab" || fail "ab should still have been running"
    wait "$ab" || fail "every request should have been answered: $(cat "$FOLDER/change.ab")"
    report_ab change
    after_the_change
    table 192.0.2.14:80
}

# Quiesces rs1, waits until its last connection has ended, and deletes it, as one does with a server in use.
take_away_rs1() {
    rule -e -t 192.0.2.14:80 -r 198.51.100.11:8080 -m -w 0
    wait_for 50 "an idle rs1" idle 192.0.2.14:80 198.51.100.11:8080 || fail "rs1 should have become idle"
    rule -d -t 192.0.2.14:80 -r 198.51.100.11:8080
    RS1_AT_THE_END=$(requests_of rs1 ' /change$')
}

after_the_change() {
    local role
    for role in rs1 rs2 rs3; do
        say "$role: $(requests_of "$role" ' /change$') requests"
    done
    [[ $(requests_of rs1 ' /change$') -eq $RS1_AT_THE_END ]] || fail "rs1 should have got none after it was deleted"
    (($(requests_of rs3 ' /change$') > 0)) || fail "rs3 should have got requests after it was added"
}

closing_words() {
    heading "What pollvsd knows at the end"
    tables
    stop_director
    heading "Done: $TOTAL requests, 0 failed, in $SECONDS s. Cleaning up."
}

stop_director() {
    kill "$STARTED_DIRECTOR"
    wait_for 100 "pollvsd's end" gone "$STARTED_DIRECTOR" || fail "pollvsd should have ended when told to"
}

# shellcheck source=config/demo/check.sh
. "$HERE/check.sh"
main
