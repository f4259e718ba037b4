#!/usr/bin/env bash
# The network in which the demo and the namespace tests run, made of network
# namespaces and thrown away afterwards:
#
#     client .100 .101 .102                             rs1 rs2 rs3 (nginx)
#          |                                             |         |
#     =====+====== outside 192.0.2.0/24 =====+===========+==       |      and 2001:db8:1::/64
#                                            |   .21 .22 .23       |
#                                    director (pollvsd)            |
#                                            |    .11 .12 .13      |
#     ======= inside 198.51.100.0/24 ========+=====================+      and 2001:db8:2::/64
#
# Real servers answer NAT through the director (policy route for their inside
# address) and DR and TUN straight to the client through their outside leg.
# pollvsd owns the director's `outside` and `inside`; the director's kernel
# lives on their twins and never sees a frame of the two themselves.
#
# Source it and call the functions, or let it hold a network for another program:
#   testbed.sh hold [pair]              make it (with a second director, `standby`), print "ready NAME FOLDER", undo it at the end of stdin
#   testbed.sh hold routed              the same with a router between the client (198.18.0.100 to .119) and two directors
#   testbed.sh hold plain LAN           the same for the network of docs/tutorials, with the real servers on LAN
#   testbed.sh config FOLDER [WORKERS]  print pollvsd's configuration for it; socket and state are in FOLDER
#   testbed.sh addresses NAME           put the director's addresses on its twins, once pollvsd has made them
set -euo pipefail

TESTBED_ROLES=(lan client director rs1 rs2 rs3)
TESTBED_DIRECTORS=(director)
# The network of the real servers in the tutorials; empty for the network above.
TESTBED_PLAIN=
TESTBED_CLIENTS=(192.0.2.100 192.0.2.101 192.0.2.102 2001:db8:1::100 2001:db8:1::101 2001:db8:1::102)
TESTBED_VIPS=(192.0.2.10 192.0.2.11 192.0.2.12 192.0.2.13 192.0.2.14 2001:db8:1::10 2001:db8:1::11)
TESTBED_DIRECT_VIPS=(192.0.2.11 192.0.2.12 2001:db8:1::11)
TESTBED_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Runs a command in the namespace of a role: inside client curl ...
inside() {
    local role=$1
    shift
    ip netns exec "$TESTBED-$role" "$@"
}

# Starts a program in the namespace of a role, its words in FOLDER/LOG: start rs1 LOG nginx ...
start() {
    local role=$1 log=$2
    shift 2
    ip netns exec "$TESTBED-$role" "$@" </dev/null >>"$TESTBED_FOLDER/$log" 2>&1 &
    # shellcheck disable=SC2034 # for the caller
    STARTED=$!
    disown
}

# Makes the network: testbed_up NAME FOLDER. What it starts keeps its files in FOLDER.
testbed_up() {
    TESTBED=$1 TESTBED_FOLDER=$2
    local role
    for role in "${TESTBED_ROLES[@]}"; do
        ip netns add "$TESTBED-$role"
        inside "$role" bash "$TESTBED_HERE/sysctl.sh" net/ipv4/conf/{all,default}/rp_filter=0 \
            net/ipv6/conf/{all,default}/accept_dad=0
        ip -n "$TESTBED-$role" link set lo up
    done
    lan_up
    if [[ -n $TESTBED_PLAIN ]]; then
        plain_up
        return
    fi
    client_up
    for role in "${TESTBED_DIRECTORS[@]}"; do
        director_up "$role"
    done
    for role in rs1 rs2 rs3; do
        real_server_up "$role" "${role#rs}"
    done
    if [[ " ${TESTBED_ROLES[*]} " == *" router "* ]]; then
        router_up
    fi
}

# Undoes it: ends every process in the namespaces, then the namespaces, which take their interfaces along.
testbed_down() {
    local role
    end_processes TERM 50 || end_processes KILL 50 || echo "could not end all processes of $TESTBED" >&2
    for role in "${TESTBED_ROLES[@]}"; do
        if [[ -e /run/netns/$TESTBED-$role ]]; then
            ip netns del "$TESTBED-$role"
        fi
    done
}

# Undoes it and removes what it kept, undisturbed by a second Ctrl-C.
testbed_drop() {
    trap '' HUP INT TERM
    testbed_down
    rm -rf "$TESTBED_FOLDER"
}

# Sends a signal to every process of the test bed; true when all are gone within N tenths of a second.
end_processes() {
    local signal=$1 tries=$2 pids
    pids=$(testbed_processes)
    # shellcheck disable=SC2086 # one word each
    [[ -z $pids ]] || kill -s "$signal" $pids 2>/dev/null || true
    while [[ -n $(testbed_processes) ]]; do
        ((tries-- > 0)) || return 1
        sleep 0.1
    done
}

testbed_processes() {
    local role
    for role in "${TESTBED_ROLES[@]}"; do
        ip netns pids "$TESTBED-$role" 2>/dev/null || true
    done
}

# A switch for each of the two networks, in a namespace of their own.
lan_up() {
    local lan
    inside lan bash "$TESTBED_HERE/sysctl.sh" net/ipv6/conf/{all,default}/disable_ipv6=1
    for lan in outside inside; do
        ip -n "$TESTBED-lan" link add "$lan" type bridge stp_state 0 forward_delay 0
        ip -n "$TESTBED-lan" link set "$lan" up
    done
}

# Plugs a role into a network; the interface is named as the network unless a third word names it. Offloads are off on both ends: a veth would
# otherwise hand over frames without their checksums, and several segments as one frame.
plug() {
    local role=$1 lan=$2 interface=${3:-$2}
    local port=${lan:0:3}-$role
    ip link add "$interface" netns "$TESTBED-$role" type veth peer name "$port" netns "$TESTBED-lan"
    inside "$role" ethtool -K "$interface" tx off gso off tso off gro off >/dev/null
    inside lan ethtool -K "$port" tx off gso off tso off gro off >/dev/null
    ip -n "$TESTBED-lan" link set "$port" master "$lan"
    ip -n "$TESTBED-lan" link set "$port" up
}

# Puts an address, with the length of its network, on an interface: give NETNS ADDRESS INTERFACE [LENGTH]
give() {
    if [[ $2 == *:* ]]; then
        ip -n "$1" -6 address replace "$2/${4:-64}" dev "$3" nodad
    else
        ip -n "$1" address replace "$2/${4:-24}" dev "$3"
    fi
}

# The length that makes an address a network of its own.
host() { if [[ $1 == *:* ]]; then echo 128; else echo 32; fi; }

client_up() {
    local address
    plug client outside
    for address in "${TESTBED_CLIENTS[@]}"; do
        give "$TESTBED-client" "$address" outside
    done
    ip -n "$TESTBED-client" link set outside up
}

# A director's two ports: director_up ROLE. AF_PACKET only copies frames, so the kernel's own stack is kept off them: no address, no
# ARP, and a drop right after the packet sockets have had their copy.
director_up() {
    local role=$1 lan
    inside "$role" bash "$TESTBED_HERE/sysctl.sh" net/ipv4/ip_forward=1 net/ipv6/conf/all/forwarding=1
    for lan in outside inside; do
        plug "$role" "$lan"
        inside "$role" bash "$TESTBED_HERE/sysctl.sh" "net/ipv6/conf/$lan/disable_ipv6=1"
        ip -n "$TESTBED-$role" link set "$lan" arp off multicast off addrgenmode none
        ip -n "$TESTBED-$role" link set "$lan" up
        inside "$role" nft "table netdev pollvs { chain $lan {
            type filter hook ingress device $lan priority -500; policy drop; }; }"
    done
}

# pollvsd's configuration: one port on each network.
director_config() {
    local folder=$1 workers=${2:-1} lan
    cat <<TOML
[director]
workers = $workers
idle = "sleep"
socket = "$folder/control.sock"
state = "$folder/state.json"

[dpdk]
memory_mb = 256
TOML
    for lan in outside inside; do
        cat <<TOML

[[port]]
name = "$lan"
device = "net_af_packet_$lan,iface=$lan"
twin = "twin-$lan"
TOML
    done
}

# Puts the director's addresses on its twins; pollvsd makes these, so it must run.
director_addresses() {
    local netns=$TESTBED-director vip
    ip -n "$netns" link set twin-outside up
    ip -n "$netns" link set twin-inside up
    give "$netns" 192.0.2.1 twin-outside
    give "$netns" 2001:db8:1::1 twin-outside
    give "$netns" 198.51.100.1 twin-inside
    give "$netns" 2001:db8:2::1 twin-inside
    for vip in "${TESTBED_VIPS[@]}"; do
        give "$netns" "$vip" twin-outside "$(host "$vip")"
    done
}

# real_server_up rs2 2: both legs, the VIPs of DR and TUN on lo and silent in ARP, a decapsulator, nginx.
real_server_up() {
    local role=$1 number=$2 netns=$TESTBED-$1 vip
    plug "$role" outside
    plug "$role" inside
    inside "$role" bash "$TESTBED_HERE/sysctl.sh" net/ipv4/conf/all/arp_ignore=1 net/ipv4/conf/all/arp_announce=2
    ip -n "$netns" link set outside up
    ip -n "$netns" link set inside up
    give "$netns" "192.0.2.2$number" outside
    give "$netns" "2001:db8:1::2$number" outside
    give "$netns" "198.51.100.1$number" inside
    give "$netns" "2001:db8:2::1$number" inside
    answer_through_director "$netns" -4 198.51.100.0/24 198.51.100.1
    answer_through_director "$netns" -6 2001:db8:2::/64 2001:db8:2::1
    for vip in "${TESTBED_DIRECT_VIPS[@]}"; do
        give "$netns" "$vip" lo "$(host "$vip")"
    done
    start "$role" "$role.decapsulate" python3 "$TESTBED_HERE/decapsulate.py"
    web_server_up "$role"
}

# What leaves with an inside address goes by the director, whoever it is for.
answer_through_director() {
    local netns=$1 family=$2 network=$3 director=$4
    ip -n "$netns" "$family" rule add from "$network" table 100
    ip -n "$netns" "$family" route add "$network" dev inside table 100
    ip -n "$netns" "$family" route add default via "$director" table 100
}

# nginx on ports 80 and 8080: says its name, or sends a file of a megabyte at /big; logs client, own address and path.
web_server_up() {
    local role=$1 folder=$TESTBED_FOLDER/$1
    mkdir -p "$folder/pages"
    [[ -e $TESTBED_FOLDER/big ]] || head -c 1000000 /dev/urandom >"$TESTBED_FOLDER/big"
    ln "$TESTBED_FOLDER/big" "$folder/pages/big"
    sed "s/@NAME@/$role/" "$TESTBED_HERE/nginx.conf" >"$folder/nginx.conf"
    start "$role" "$role.nginx" nginx -e stderr -p "$folder" -c nginx.conf
    wait_for 50 "nginx on $role" inside "$role" curl -s -o "$folder/hello" http://127.0.0.1/
    : >"$folder/access.log"
}

# wait_for TENTHS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local tries=$1 what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((tries-- <= 0)); then
            echo "$what is not there after waiting for it: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}

# requests_of ROLE PATTERN: how many requests that a real server has logged match "client server-address path".
requests_of() {
    grep -c -E -- "$2" "$TESTBED_FOLDER/$1/access.log" || true
}

# A router on the outside network, with a network behind it where the client has twenty addresses more. It chooses between equal
# routes by addresses and ports.
router_up() {
    local number role
    ip link add far netns "$TESTBED-client" type veth peer name far netns "$TESTBED-router"
    for role in client router; do
        inside "$role" ethtool -K far tx off gso off tso off gro off >/dev/null
        ip -n "$TESTBED-$role" link set far up
    done
    plug router outside
    ip -n "$TESTBED-router" link set outside up
    give "$TESTBED-router" 192.0.2.254 outside
    give "$TESTBED-router" 198.18.0.254 far
    inside router bash "$TESTBED_HERE/sysctl.sh" net/ipv4/ip_forward=1 net/ipv4/fib_multipath_hash_policy=1
    for number in {100..119}; do
        give "$TESTBED-client" "198.18.0.$number" far
    done
    ip -n "$TESTBED-client" route add default via 198.18.0.254
    for role in rs1 rs2 rs3; do
        ip -n "$TESTBED-$role" route add default via 192.0.2.254
    done
}

# The network of the tutorials (docs/tutorials/README.md), whose hosts have addresses and nothing else; the reader enters the rest.
plain_up() {
    local role
    plug client outside eth0
    for role in 192.0.2.100 192.0.2.101 192.0.2.102; do
        give "$TESTBED-client" "$role" eth0
    done
    ip -n "$TESTBED-client" link set eth0 up
    ip -n "$TESTBED-client" route add default via 192.0.2.254
    plug router outside eth0
    plug router inside eth1
    give "$TESTBED-router" 192.0.2.254 eth0
    give "$TESTBED-router" 198.51.100.254 eth1
    ip -n "$TESTBED-router" link set eth0 up
    ip -n "$TESTBED-router" link set eth1 up
    inside router bash "$TESTBED_HERE/sysctl.sh" net/ipv4/ip_forward=1
    plug director outside eth1
    plug director inside eth2
    for role in rs1 rs2; do
        plain_server_up "$role" "${role#rs}"
    done
}

# A real server of the tutorials, as strict about the way that packets come as many distributions are.
plain_server_up() {
    local role=$1 number=$2 netns=$TESTBED-$1
    plug "$role" "$TESTBED_PLAIN" eth0
    inside "$role" bash "$TESTBED_HERE/sysctl.sh" net/ipv4/conf/{all,default,eth0}/rp_filter=1
    ip -n "$netns" link set eth0 up
    if [[ $TESTBED_PLAIN == inside ]]; then
        give "$netns" "198.51.100.1$number" eth0
        ip -n "$netns" route add default via 198.51.100.254
    else
        give "$netns" "192.0.2.2$number" eth0
        ip -n "$netns" route add default via 192.0.2.254
    fi
    web_server_up "$role"
}

# Holds a network until stdin ends, so that it goes away with whoever asked for it, however that ends.
testbed_hold() {
    TESTBED=pollvs-$$
    TESTBED_FOLDER=$(mktemp -d -t "$TESTBED-XXXXXX")
    exec 3<&0
    trap testbed_drop EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    testbed_up "$TESTBED" "$TESTBED_FOLDER"
    echo "ready $TESTBED $TESTBED_FOLDER"
    cat <&3 >/dev/null &
    wait $!
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    case ${1-} in
    hold)
        if [[ ${2-} == pair || ${2-} == routed ]]; then
            TESTBED_DIRECTORS+=(standby)
            TESTBED_ROLES+=(standby)
            [[ $2 == pair ]] || TESTBED_ROLES+=(router)
        elif [[ ${2-} == plain ]]; then
            TESTBED_PLAIN=${3:?hold plain needs the network of the real servers}
            TESTBED_ROLES=(lan client router director rs1 rs2)
        fi
        testbed_hold
        ;;
    config) director_config "${2:?config needs a folder}" "${3:-1}" ;;
    addresses)
        TESTBED=${2:?addresses needs the name of a test bed}
        director_addresses
        ;;
    *)
        echo "usage: testbed.sh hold [pair | routed | plain LAN] | config FOLDER [WORKERS] | addresses NAME" >&2
        exit 2
        ;;
    esac
fi
