#!/usr/bin/env bash
# What the demo does again and again: enter a rule, send requests, count who answered. Sourced by demo.sh.

# The control client, spoken to pollvsd of this demo. The socket is a file, so it needs no namespace.
pollvs() { "$POLLVS" --socket "$FOLDER/control.sock" "$@"; }

# Enters a rule in ipvsadm's syntax, shown as typed.
rule() {
    say "\$ pollvs ipvsadm $*"
    pollvs ipvsadm "$@" || fail "pollvsd should have taken: ipvsadm $*"
}

# for_servers VIP:PORT PORT METHOD WEIGHT1 WEIGHT2 WEIGHT3
for_servers() {
    local service=$1 port=$2 method=$3 number=1 weight
    shift 3
    for weight in "$@"; do
        rule -a -t "$service" -r "198.51.100.1$number:$port" "$method" -w "$weight"
        number=$((number + 1))
    done
}

# Six requests with curl, and the file of a megabyte, which must arrive as it is.
try_by_hand() {
    local vip=$1 answers='' answer
    for _ in 1 2 3 4 5 6; do
        answer=$(request "$vip" /) || fail "curl http://$vip/ should have been answered"
        answers+=" $answer"
    done
    say "curl, six times:$answers"
    request "$vip" /big >"$FOLDER/received" || fail "curl http://$vip/big should have been answered"
    cmp -s "$FOLDER/received" "$FOLDER/big" || fail "the file from http://$vip/big should be the one on the server"
    say "curl, a file of $(stat -c %s "$FOLDER/big") bytes: arrived as it was sent"
    TOTAL=$((TOTAL + 7))
}

request() { inside client curl -sS --fail --max-time 10 "http://$1$2"; }

# load VIP PATH [AB OPTIONS]: ab's thousand requests, none of which may fail.
load() {
    local vip=$1 path=$2
    shift 2
    # shellcheck disable=SC2153 # of demo.sh
    run_ab "$vip" "$path" "$REQUESTS" "$@" || fail "ab should have succeeded: $(cat "$FOLDER/$path.ab")"
    report_ab "$path"
}

# In the background and waited for, so that an interruption is heard at once.
run_ab() {
    local vip=$1 path=$2 requests=$3
    shift 3
    # -t sets -n as well, so -n comes after it.
    inside client ab -q -r -c "$CONCURRENCY" "$@" -n "$requests" "http://$vip/$path" >"$FOLDER/$path.ab" 2>&1 &
    wait $!
}

# Reads ab's report. `Non-2xx responses` is only there if there were any.
report_ab() {
    local path=$1 complete failed refused rate
    complete=$(ab_says "$path" 'Complete requests')
    failed=$(ab_says "$path" 'Failed requests')
    refused=$(ab_says "$path" 'Non-2xx responses')
    rate=$(ab_says "$path" 'Requests per second')
    say "ab, $CONCURRENCY at a time: ${complete:-no} requests, ${failed:-?} failed, ${rate:-?} a second"
    [[ $failed == 0 && -z $refused ]] || fail "0 requests should have failed: $(cat "$FOLDER/$path.ab")"
    TOTAL=$((TOTAL + complete))
}

ab_says() { awk -F': *' -v what="$2" '$1 == what { split($2, word, " "); print word[1] }' "$FOLDER/$1.ab"; }

# shares PATH WEIGHT1 WEIGHT2 WEIGHT3: each server has logged its share of the load, give or take one round and 3 % of all
# requests: a client port that comes up again while the director waits for the end of its old connection (DR and TUN see
# no server's FIN) goes to the server it had.
shares() {
    local path=$1 sum=0 number=1 weight count due margin
    shift
    for weight in "$@"; do sum=$((sum + weight)); done
    margin=$((sum + REQUESTS * 3 / 100))
    for weight in "$@"; do
        count=$(requests_of "rs$number" " /$path\$")
        due=$((REQUESTS * weight / sum))
        say "rs$number: $count requests (weight $weight)"
        ((count >= due - margin && count <= due + margin)) ||
            fail "rs$number should have got $due requests of $REQUESTS, give or take $margin, and got $count"
        number=$((number + 1))
    done
}

# one_server_only CLIENT: all its requests went to the same server.
one_server_only() {
    local path=stay-${1##*.} role count
    for role in rs1 rs2 rs3; do
        count=$(requests_of "$role" " /$path\$")
        ((count == 0)) && continue
        ((count == REQUESTS)) || fail "all $REQUESTS requests of $1 should have gone to one server; $role got $count"
        say "$1: all $count requests on $role"
        return
    done
    fail "no server has logged a request of $1"
}

# One service with its servers: table VIP:PORT
table() {
    say "\$ pollvs ipvsadm -L -n -t $1"
    pollvs ipvsadm -L -n -t "$1" | shorten 20
}

# The whole service table, and the first lines of the connection table.
tables() {
    say "\$ pollvs services"
    pollvs services | shorten 40
    say "\$ pollvs connections"
    pollvs connections | shorten 8
}

# Whether ipvsadm's table shows no active connection on a destination: idle VIP:PORT RIP:PORT
idle() {
    pollvs ipvsadm -L -n -t "$1" | awk -v server="$2" '$2 == server { found = $5 == 0 } END { exit !found }'
}

is_running() { kill -0 "$1" 2>/dev/null; }

gone() { ! is_running "$1"; }
