#!/usr/bin/env bash
# Puts pollvs in place, or takes it away again:
#   install.sh install|uninstall PREFIX BUILT
# PREFIX is where programs go (/usr/local), BUILT the folder with pollvsd, pollvs and libpollvs_ipvs.so. Everything goes below DESTDIR,
# if that is set; else the distribution's ipvsadm is diverted (dpkg-divert) to /sbin/ipvsadm.kernel, and a wrapper takes its place.
# UNITS is where systemd's units go (/etc/systemd/system).
set -euo pipefail
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what=${1:?install or uninstall}
prefix=${2:?PREFIX}
built=${3:-}
root=${DESTDIR:-}
units=${UNITS:-/etc/systemd/system}
wrapper=/sbin/ipvsadm
kernels=/sbin/ipvsadm.kernel
config=/etc/pollvs/director.toml

# Installs a text of config/ in which the prefix is filled in: text FILE MODE DESTINATION
text() {
    sed -e "s|@PREFIX@|$prefix|g" "$here/$1" | install -D -m "$2" /dev/stdin "$root$3"
}

# Does this run on the machine itself, and is that Debian's?
is_debian_itself() {
    [[ -z $root ]] && command -v dpkg-divert >/dev/null
}

divert() {
    dpkg-divert --local --quiet --rename --divert "$kernels" --"$1" "$wrapper"
}

tell_systemd() {
    if [[ -z $root && -d /run/systemd/system ]]; then
        systemctl daemon-reload
    fi
}

# The files that are installed, but for the configuration and the wrapper.
files() {
    printf '%s\n' "$prefix"/{sbin/pollvsd,sbin/pollvs,lib/pollvs/libpollvs_ipvs.so} \
        "$units"/{pollvsd.service,keepalived.service.d/pollvs.conf,ldirectord.service.d/pollvs.conf}
}

put_in_place() {
    install -D -m 755 "$built/pollvsd" "$root$prefix/sbin/pollvsd"
    install -D -m 755 "$built/pollvs" "$root$prefix/sbin/pollvs"
    install -D -m 644 "$built/libpollvs_ipvs.so" "$root$prefix/lib/pollvs/libpollvs_ipvs.so"
    text systemd/pollvsd.service 644 "$units/pollvsd.service"
    text systemd/keepalived.conf 644 "$units/keepalived.service.d/pollvs.conf"
    text systemd/ldirectord.conf 644 "$units/ldirectord.service.d/pollvs.conf"
    if [[ -e $root$config ]]; then
        echo "Kept $root$config as it is"
    else
        text director.toml 644 "$config"
    fi
    if is_debian_itself; then
        divert add
    fi
    if [[ -n $root ]] || is_debian_itself; then
        text ipvsadm 755 "$wrapper"
    else
        echo "No dpkg-divert here: ipvsadm is left alone; docs/drop-in.md says how to give it the library"
    fi
    tell_systemd
}

# Is the file at the wrapper's place the wrapper?
is_wrapped() {
    [[ -f $root$wrapper ]] && grep -q libpollvs_ipvs "$root$wrapper"
}

take_away() {
    local file folder
    while read -r file; do
        rm -f "$root$file"
    done < <(files)
    if is_wrapped; then
        rm -f "$root$wrapper"
    fi
    if is_debian_itself; then
        divert remove
    fi
    if cmp -s "$here/director.toml" "$root$config"; then
        rm -f "$root$config"
    elif [[ -e $root$config ]]; then
        echo "Kept $root$config, which has been changed"
    fi
    for folder in "$prefix/lib/pollvs" "$units"/{keepalived,ldirectord}.service.d /etc/pollvs; do
        if [[ -d $root$folder ]]; then
            rmdir --ignore-fail-on-non-empty "$root$folder"
        fi
    done
    tell_systemd
}

case $what in
install) put_in_place ;;
uninstall) take_away ;;
*)
    echo "install.sh knows install and uninstall, not $what" >&2
    exit 2
    ;;
esac
