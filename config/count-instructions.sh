#!/usr/bin/env bash
# Counts the instructions of a packet with callgrind, exactly, whatever else the machine is doing, and holds them against the record:
#   count-instructions.sh measure FILE             builds the bench as pollvsd is built, counts, writes FILE
#   count-instructions.sh compare RECORD FILE      fails when a case takes over 3 % more than the record says
#   count-instructions.sh check RECORD FILE        both
#   count-instructions.sh record RECORD FILE       measures and writes the record anew
# Where compiler, DPDK or C library are not those of the record nothing can be compared, and it says so.
set -euo pipefail
export PATH=$PATH:$HOME/.cargo/bin

# Case, flows and family of each; as many flows as make new ones of all packets that are counted.
CASES=("macswap 1024 4" "dr 1024 4" "tun 1024 4" "nat 1024 4" "nat-reply 1024 4" "dr 1024 6" "tun 1024 6" "new-dr 524288 4")
# Growth that is let pass, in percent.
TOLERANCE=3

# What the counts depend on besides the code, one `key = "value"` a line.
circumstances() {
    printf 'rustc = "%s"\n' "$(rustc --version)"
    printf 'dpdk = "%s"\n' "$(pkg-config --modversion libdpdk)"
    printf 'libc = "%s"\n' "$(getconf GNU_LIBC_VERSION)"
}

# Builds the bench and prints the program's path.
build() {
    local program
    program=$(cargo bench --locked --no-run --bench forwarding --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/forwarding-[^"]*\)".*/\1/p' | tail -n 1)
    [[ -x $program ]] || { echo "The bench was not built" >&2 && return 1; }
    echo "$program"
}

# Prints the line of one case: its name, and instructions a packet.
count() {
    local program=$1 folder=$2 name=$3 flows=$4 family=$5 out packets instructions key
    key=$name-ipv$family
    out=$folder/$key
    if ! valgrind --tool=callgrind --toggle-collect='*counted*' --callgrind-out-file="$out.callgrind" \
        "$program" --count "$name" "$flows" --family "$family" >"$out.packets" 2>"$out.log"; then
        echo "callgrind did not count $key:" >&2
        tail -n 20 "$out.log" >&2
        return 1
    fi
    packets=$(sed -n 's/^\([0-9]*\) packets$/\1/p' "$out.packets")
    instructions=$(sed -n 's/^\(summary\|totals\): *\([0-9]*\).*/\2/p' "$out.callgrind" | head -n 1)
    awk -v key="$key" -v n="$instructions" -v packets="$packets" 'BEGIN {
        if (n + 0 == 0 || packets + 0 == 0) exit 1
        printf "%s = %.2f\n", key, n / packets
    }' || { echo "callgrind counted nothing of $key" >&2 && return 1; }
}

measure() {
    local file=$1 program folder case
    program=$(build)
    folder=$(mktemp -d)
    # shellcheck disable=SC2064 # The folder's name of now.
    trap "rm -rf '$folder'" EXIT
    for case in "${CASES[@]}"; do
        # shellcheck disable=SC2086 # Case, flows and family are words.
        count "$program" "$folder" $case
    done >"$folder/counts"
    mkdir -p "$(dirname "$file")"
    {
        echo "# Instructions of a packet, generator and ring included, counted by callgrind: bursts of 32, 1024 flows, or a new one with each packet."
        echo "# Written by \`make count RECORD=1\`; \`make count\` compares."
        circumstances
        printf '\n[instructions]\n'
        cat "$folder/counts"
    } >"$file"
}

# Prints the lines of a record that are not counts.
head_of() {
    grep '^[a-z]* = "' "$1"
}

compare() {
    local record=$1 file=$2
    if [[ $(head_of "$record") != "$(head_of "$file")" ]]; then
        echo "Instructions were not compared: $record was made with another compiler or libraries."
        head_of "$record" | sed 's/^/  record: /'
        head_of "$file" | sed 's/^/  here:   /'
        echo "\`make count RECORD=1\` makes it anew."
        return 0
    fi
    awk -v tolerance="$TOLERANCE" -v record="$record" '
        $2 != "=" || $3 ~ /^"/ { next }
        FNR == NR { before[$1] = $3; next }
        {
            seen[$1] = 1
            if (!($1 in before)) {
                printf "%-16s %8.2f instructions a packet, and the record has none\n", $1, $3
                bad = 1
                next
            }
            # Counts have two decimals, a percentage no more.
            change = sprintf("%.2f", ($3 / before[$1] - 1) * 100) + 0
            verdict = change > tolerance ? "  TOO MANY" : change < -tolerance ? "  fewer: the record may follow" : ""
            printf "%-16s %8.2f instructions a packet, %8.2f in the record: %+.2f %%%s\n", $1, $3, before[$1], change, verdict
            if (change > tolerance) bad = 1
        }
        END {
            for (name in before) if (!(name in seen)) {
                printf "%-16s was not counted, and the record has it\n", name
                bad = 1
            }
            if (bad) {
                printf "A packet takes over %s %% more instructions than %s says.\n", tolerance, record
                print "If that is meant, write the record anew with `make count RECORD=1` and say why in the commit."
            }
            exit bad
        }' "$record" "$file"
}

case ${1-} in
measure) measure "$2" ;;
compare) compare "$2" "$3" ;;
check)
    measure "$3"
    compare "$2" "$3"
    ;;
record)
    measure "$3"
    cp "$3" "$2"
    cat "$2"
    ;;
*)
    echo "count-instructions.sh knows measure, compare, check and record" >&2
    exit 2
    ;;
esac
