# shellcheck shell=bash
# relay.sh: the scenario `relay` of tests/bench/run, which sources it.
#
# The relay is an Encke of its own behind its own nginx; its upstream another Encke behind a third.
# What goes through the relay is the upstream's `update`, so that an answer shows by its message
# that it is the upstream's: the relay's own answer, {"ret":"new"}, is counted as wrong.

bad_upstreams='gigabyte hole reset gone'
bad_clients=25 # for each of those

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_bad() {
    port[bad]=$(free_port) || exit 1
    "$programs/bad" "${port[bad]}" >"$scratch/bad.log" 2>&1 &
    started+=("$!")
    wait_for bad listens "${port[bad]}"
}

start_relay() {
    start_encke upstream
    start_nginx upstream "$scratch/upstream.sock"
    start_bad
    relay_options=(--upstream "news=http://127.0.0.1:${port[upstream]}/comet/update"
        --upstream "gigabyte=http://127.0.0.1:${port[bad]}/gigabyte"
        --upstream "hole=http://127.0.0.1:${port[bad]}/hole"
        --upstream "reset=http://127.0.0.1:${port[bad]}/reset"
        --upstream "gone=http://127.0.0.1:1/") # nobody listens there
    start_encke relay "${relay_options[@]}"
    start_nginx relay "$scratch/relay.sock"
    relayed_polls=(--poll 'subscribe?upstream=news&id=now' --relay news
        --publish-at "http://127.0.0.1:${port[upstream]}/comet/")
    relay_site=http://127.0.0.1:${port[relay]}/comet/
    relay_direct=fcgi:$scratch/relay.sock:/comet/
    relay_watch=(--watch "daemon=${daemon[relay]}")
}

# relay_memory CONTESTANT CLIENTS [load's options]: in a daemon that has held some, but not many,
# and stored nothing, or the checkpoint after it would be found in the idleness.
relay_memory() {
    local direct=fcgi:$scratch/memory.sock:/comet/
    start_encke memory "${relay_options[@]}"
    load rate -n 50 -t 1 "${direct}update?id=now&timeout=0" >/dev/null || die "no update works"
    [ $# -eq 2 ] || load fanout -n 50 -r 2 "${@:3}" "$direct" >/dev/null || die "no relay works"
    measure relay "$1" 1 load fanout -n "$2" -r 1 --idle "$idle" "${@:3}" \
        --watch "daemon=${daemon[memory]}" "$direct"
    stop_encke memory
}

# Many clients that ask the same, relayed and not.
relay_fanout() {
    local turn=$1 size options=(-n "$relayed" -r "$rounds" "${relay_watch[@]}")
    measure relay nginx+relayed "$turn" load fanout "${options[@]}" "${relayed_polls[@]}" \
        --watch "nginx=${pids[relay]}" "$relay_site"
    measure relay nginx+local "$turn" load fanout "${options[@]}" \
        --watch "nginx=${pids[relay]}" "$relay_site"
    measure relay relayed-alone "$turn" load fanout "${options[@]}" "${relayed_polls[@]}" \
        "$relay_direct"
    measure relay local-alone "$turn" load fanout "${options[@]}" "$relay_direct"
    size=$(curl -s -m 5 "${relay_site}update?limit=1" -D- | wc -c)
    measure relay send-loop "$turn" "$programs/sends" -c "$relayed" "$size" "$rounds"
}

# Clients that ask something different each; beside it, the same at the upstream itself.
relay_queries() {
    local turn=$1 n
    for n in ${queries//,/ }; do
        measure relay "nginx+different-$n" "$turn" load fanout -n "$n" -r "$rounds" --vary "$n" \
            "${relayed_polls[@]}" "${relay_watch[@]}" --watch "nginx=${pids[relay]}" "$relay_site"
        measure relay "different-$n-alone" "$turn" load fanout -n "$n" -r "$rounds" --vary "$n" \
            "${relayed_polls[@]}" "${relay_watch[@]}" "$relay_direct"
        measure relay "upstream-$n" "$turn" load fanout -n "$n" -r "$rounds" --vary "$n" \
            --watch "daemon=${daemon[upstream]}" --watch "nginx=${pids[upstream]}" \
            "http://127.0.0.1:${port[upstream]}/comet/"
    done
}

# ---- together ----------------------------------------------------------------------------------

# start_crowd local|relayed: clients that ask again after each answer, straight at the daemon, and
# publishes at a pace. Returns when all are held; their figures are for end_crowd.
start_crowd() {
    local polls=("${relayed_polls[@]}")
    [ "$1" = relayed ] ||
        polls=(--poll 'update?channel=crowd&id=now' --publish 'create?channel=crowd')
    "$programs/load" streams --csv -k poll -n "$relayed" --rate "$pace" -t $((seconds + 1)) \
        "${polls[@]}" "${relay_watch[@]}" "$relay_direct" >"$scratch/crowd.csv" &
    crowd_pid=$!
    wait_for "the crowd of $1 clients" grep -q heap_bytes_a_stream "$scratch/crowd.csv"
}

# end_crowd CONTESTANT TURN
end_crowd() {
    wait "$crowd_pid" || die "the crowd of $1 failed (see above)"
    sed "s|^|crowd,$1,$2,|" "$scratch/crowd.csv" >>"$results"
}

# Clients of bad upstreams, who ask at once again, each time something new.
start_mad() {
    local name
    mad_pids=()
    for name in $bad_upstreams; do
        "$programs/load" rate -n "$bad_clients" -t 600 --vary 1000000000 \
            "${relay_direct}subscribe?upstream=$name&timeout=2" >/dev/null 2>&1 &
        mad_pids+=("$!")
    done
}

end_mad() {
    kill "${mad_pids[@]}"
    wait "${mad_pids[@]}" 2>/dev/null
}

# board WHAT CONTESTANT TURN: creates or updates on the relay's own log, behind its nginx.
board() {
    local rest=create options=(--post "msg=$message")
    [ "$1" = create ] || rest="update?channel=ready&id=$ready" options=()
    echo 5 >"/proc/${daemon[relay]}/clear_refs" # the peak of its memory begins anew
    measure "board-$1" "$2" "$3" load rate -n "$publishers" -t "$seconds" "${options[@]}" \
        "${relay_watch[@]}" --watch "nginx=${pids[relay]}" "$relay_site$rest"
    awk -v of="board-$1,$2,$3" '/^VmHWM/ { print of ",1,peak_mib," $2 / 1024 }' \
        "/proc/${daemon[relay]}/status" >>"$results"
}

relay_together() {
    local turn=$1 what kind
    start_crowd local
    end_crowd local "$turn"
    start_crowd relayed
    end_crowd relayed "$turn"
    start_crowd relayed
    start_mad
    end_crowd relayed+bad "$turn"
    end_mad
    for what in update create; do
        board $what alone "$turn"
        for kind in local relayed; do
            start_crowd $kind
            board $what "$kind" "$turn"
            end_crowd "$kind+$what" "$turn"
        done
        start_mad
        sleep 1 # the first of them have been told by now, and ask again
        board $what bad "$turn"
        end_mad
    done
    sleep 1 # the log writes its checkpoint: not in the next turn
}

# What the daemon counted of the bad upstreams.
count_bad() {
    local name status part value field
    status=$(curl -sf -m 5 "${relay_site}status" | tr -d ' \n') || die "no status"
    for name in $bad_upstreams; do
        part=${status#*\"name\":\"$name\"} part=${part%%\"name\":*}
        for field in asked requests answers unreachable timeout status broken refused; do
            value=${part#*\"$field\":}
            echo "bad,$name,1,1,$field,${value%%[!0-9]*}" >>"$results"
        done
    done
}

scenario_relay() {
    local turn n ready
    start_relay
    relay_memory memory-relayed "$relayed" "${relayed_polls[@]}"
    relay_memory memory-local "$relayed"
    for n in ${queries//,/ }; do
        relay_memory "memory-$n" "$n" --vary "$n" "${relayed_polls[@]}"
    done
    for turn in $(seq "$repeats"); do
        relay_fanout "$turn"
        relay_queries "$turn"
    done
    ready=$(ready_cursor relay)
    for turn in $(seq $(((repeats + 1) / 2))); do relay_together "$turn"; done
    count_bad
}

# Formats the summary on stdin.
relay_table() {
    awk -F, -v relayed="$relayed" -v queries="$queries" -v idle="$idle" -v pace="$pace" \
        -v bad="$bad_upstreams" -v bad_clients="$bad_clients" "$table_functions"'
    BEGIN {
        query_count = split(queries, query, ",")
        bad_count = split(bad, bad_name, " ")
        board_row = "  %-34s %-24s %-18s %8s %8s %8s %8s %6s\n"
        crowd_row = "  %-34s %8s %-18s %-18s %8s %8s %6s\n"
        bad_row = "  %-10s %9s %9s %9s %12s %8s %8s %8s\n"
    }
    { take() }
    function under_way(k, n) {
        return sprintf("%s for %d", range(k, "under_way", "%d"), n)
    }
    function fan_tables(  i, n, k) {
        fan_head(sprintf("%d relayed polls, one publish at the upstream", relayed))
        fan("relay", "nginx+relayed"); fan("relay", "nginx+local")
        fan("relay", "relayed-alone"); fan("relay", "local-alone")
        floor_row("relay", "send-loop")
        k = "relay" SUBSEP "nginx+relayed"
        printf "(requests upstream for them: %s)\n", range(k, "under_way", "%d")
        fan_head("Different polls, an upstream request each")
        for (i = 1; i <= query_count; i++) {
            n = query[i]
            fan("relay", "nginx+different-" n)
            fan("relay", "different-" n "-alone")
            fan("relay", "upstream-" n)
        }
        print "(upstream-N: the same N polls at the upstream itself, behind its nginx)"
    }
    function memory(name, what,  k) {
        k = "relay" SUBSEP name
        printf "  %-22s %8.0f bytes resident (%.0f heap); idle: %.2f ms of CPU, %d wake-ups\n",
            what, m[k, "daemon_rss_bytes_a_hold"], m[k, "daemon_heap_bytes_a_hold"],
            m[k, "daemon_idle_cpu_ms"], m[k, "daemon_idle_wakeups"]
    }
    function memories(  i) {
        printf "\nMemory of a poll in the daemon, and what all cost in %d s of nothing\n", idle
        memory("memory-local", relayed " local")
        memory("memory-relayed", relayed " relayed, the same")
        for (i = 1; i <= query_count; i++) memory("memory-" query[i], query[i] " different")
    }
    function board(what, name, title,  k) {
        k = "board-" what SUBSEP name
        printf board_row, title, range(k, "requests_a_second", "%.0f"), range(k, "ratio", "%.2f"),
            val(k, "p50_ms", "%.2f"), val(k, "p99_ms", "%.2f"), val(k, "most_ms", "%.1f"),
            val(k, "peak_mib", "%.1f"), wrong(k)
    }
    function boards(what, title) {
        printf "\n%s, behind nginx, and beside them\n", title
        printf board_row, "", "a second", "/ alone", "p50 ms", "p99 ms", "most ms", "peak MiB",
            "errors"
        board(what, "alone", "nothing")
        board(what, "local", sprintf("%d local polls, %d publishes/s", relayed, pace))
        board(what, "relayed", sprintf("%d relayed polls, as often", relayed))
        board(what, "bad", sprintf("%d clients of bad upstreams", bad_count * bad_clients))
    }
    function crowd(name, title,  k) {
        k = "crowd" SUBSEP name
        printf crowd_row, title, val(k, "deliveries_a_second", "%.0f"), range(k, "p50_ms", "%.1f"),
            range(k, "p99_ms", "%.1f"), val(k, "most_ms", "%.1f"),
            name ~ /[+]/ ? "-" : val(k, "daemon_cpu_us_a_delivery", "%.1f"), wrong(k)
    }
    function crowds() {
        printf "\nThose %d polls, asked again once answered, at the daemon: ms\n", relayed
        printf crowd_row, "", "a second", "p50", "p99", "most", "CPU us", "errors"
        crowd("local", "local"); crowd("local+create", "local, beside creates")
        crowd("local+update", "local, beside updates")
        crowd("relayed", "relayed"); crowd("relayed+create", "relayed, beside creates")
        crowd("relayed+update", "relayed, beside updates")
        crowd("relayed+bad", "relayed, beside bad upstreams")
    }
    function bads(  i, k) {
        printf "\nThe bad upstreams, for %d clients each that ask at once again, never the same\n",
            bad_clients
        printf bad_row, "", "asked", "requests", "good", "unreachable", "timeout", "broken",
            "refused"
        for (i = 1; i <= bad_count; i++) {
            k = "bad" SUBSEP bad_name[i]
            printf bad_row, bad_name[i], val(k, "asked", "%d"), val(k, "requests", "%d"),
                val(k, "answers", "%d"), val(k, "unreachable", "%d"), val(k, "timeout", "%d"),
                val(k, "broken", "%d"), val(k, "refused", "%d")
        }
    }
    END {
        if (!seen["relay"]) exit
        fan_tables()
        memories()
        boards("update", "Updates with a message ready"); boards("create", "Creates")
        crowds()
        bads()
        show_wrongs("relay|board|crowd")
    }'
}
