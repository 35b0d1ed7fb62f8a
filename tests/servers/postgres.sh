#!/usr/bin/env bash
# A PostgreSQL server of one's own on 127.0.0.1, which never runs as root.
#   postgres.sh start DIR      makes DIR, waits until it answers, prints its port; user "app", database "postgres",
#                              the password is that of $PGPASSWORD
#   postgres.sh stop DIR       ends it at once, in the middle of whatever it does
# Ends with 69 where PostgreSQL is not installed.
set -euo pipefail
command=$1 folder=$2

bin=$(dirname "$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -1)")
[ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ] || { echo "initdb is not installed" >&2; exit 69; }

as_somebody() {
    if [ "$(id -u)" != 0 ]; then "$@"; return; fi
    local user=postgres
    id -u "$user" >/dev/null 2>&1 || user=nobody
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME="$folder" "$@"
}

case $command in
start)
    mkdir -p "$folder"
    chmod 700 "$folder"
    if [ "$(id -u)" = 0 ]; then chown "$(id -u postgres 2>/dev/null || id -u nobody)" "$folder"; fi
    cd "$folder"
    printf '%s' "$PGPASSWORD" | as_somebody tee password >/dev/null
    as_somebody "$bin/initdb" -D "$folder/data" -U app --pwfile="$folder/password" -A scram-sha-256 \
        -E UTF8 --locale=C --no-sync >/dev/null
    # A port that is free now may be taken a moment later: then another one.
    for _ in 1 2 3 4 5; do
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=60"
        if as_somebody "$bin/pg_ctl" -D "$folder/data" -w -t 30 -l "$folder/log" -o "$options" start >/dev/null; then
            echo "$port"
            exit
        fi
    done
    cat "$folder/log" >&2
    exit 1
    ;;
stop)
    as_somebody "$bin/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null
    ;;
esac
