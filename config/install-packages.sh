#!/usr/bin/env bash
# Installs the Debian packages that are missing for what it is told to prepare:
#   install-packages.sh [build] [network] [lint] [fuzz] [oracle] [deb] [count] [testpmd]
# Asks nothing, starts no service, and does nothing where everything is there.
set -euo pipefail
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive

# A program or a package's folder that shows that it is there, and the package.
BUILD=(
    cc=gcc git=git pkg-config=pkg-config
    /usr/share/doc/libdpdk-dev=libdpdk-dev /usr/share/doc/libclang-dev=libclang-dev
)
NETWORK=(
    ip=iproute2 ethtool=ethtool nft=nftables nginx=nginx-light ab=apache2-utils curl=curl ping=iputils-ping
    python3=python3 vsftpd=vsftpd keepalived=keepalived prometheus=prometheus promtool=prometheus tmux=tmux
    ipvsadm=ipvsadm ldirectord=ldirectord /etc/services=netbase bird=bird2 sysctl=procps
)
LINT=(shellcheck=shellcheck)
FUZZ=("c++=g++")
ORACLE=(
    gcc=gcc make=make flex=flex bison=bison bc=bc xz=xz-utils strip=binutils python3=python3
    /usr/share/doc/libc6-dev=libc6-dev
)
DEB=(dpkg-shlibdeps=dpkg-dev strip=binutils)
COUNT=(valgrind=valgrind)
TESTPMD=(dpdk-testpmd=dpdk-dev ip=iproute2 python3=python3)

is_there() {
    if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi
}

# Prints the packages of the pairs that are not there, one a line.
missing() {
    local pair
    for pair in "$@"; do
        is_there "${pair%%=*}" || echo "${pair#*=}"
    done
}

install_packages() {
    local log
    log=$(mktemp)
    echo "Installing from Debian packages: $* (this takes a minute or two)"
    if ! { apt-get update && apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        echo "Could not install: $*" >&2
        return 1
    fi
    rm -f "$log"
}

# Web and FTP servers, keepalived, ldirectord, Prometheus and bird are wanted as programs, not as services of this machine.
without_starting_services() {
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    "$@"
    if [[ -d /run/systemd/system ]]; then
        [[ " $* " != *" nginx-light "* ]] || systemctl disable --quiet nginx
        [[ " $* " != *" vsftpd "* ]] || systemctl disable --quiet vsftpd
        [[ " $* " != *" keepalived "* ]] || systemctl disable --quiet keepalived
        [[ " $* " != *" ldirectord "* ]] || systemctl disable --quiet ldirectord
        [[ " $* " != *" prometheus "* ]] || systemctl disable --quiet prometheus
        [[ " $* " != *" bird2 "* ]] || systemctl disable --quiet bird
    fi
}

main() {
    local pairs=() what packages
    for what in "$@"; do
        case $what in
        build) pairs+=("${BUILD[@]}") ;;
        network) pairs+=("${NETWORK[@]}") ;;
        lint) pairs+=("${LINT[@]}") ;;
        fuzz) pairs+=("${FUZZ[@]}") ;;
        oracle) pairs+=("${ORACLE[@]}") ;;
        deb) pairs+=("${DEB[@]}") ;;
        count) pairs+=("${COUNT[@]}") ;;
        testpmd) pairs+=("${TESTPMD[@]}") ;;
        *)
            echo "install-packages.sh knows build, network, lint, fuzz, oracle, deb, count and testpmd, not $what" >&2
            exit 2
            ;;
        esac
    done
    mapfile -t packages < <(missing "${pairs[@]}")
    ((${#packages[@]})) || return 0
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "Missing: ${packages[*]}; install them, or run this as root on Debian 12." >&2
        exit 1
    fi
    without_starting_services install_packages "${packages[@]}"
}

main "$@"
