#!/usr/bin/env bash
# Broadcasts through Redis to two servers with 1,000 clients each: ours, and python-socketio's with its
# RedisManager. What `tests/run` installs must be there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --quiet --release --features redis --example bench_server --example bench_cluster
examples=target/release/examples
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp -d)
pids=()
end() { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; rm -r "$log"; }
trap end EXIT
redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no >/dev/null & pids+=($!)
broker=redis://127.0.0.1:$port/0

address() { # of a server that says in a file where it listens
  for _ in $(seq 200); do
    found=$(grep -ho "127.0.0.1:[0-9]*" "$1" | head -1) && { echo "http://$found"; return; }
    sleep 0.05
  done
  echo "no server: $(cat "$1")" >&2; exit 1
}

compare() { # NAME BROADCASTS COMMAND...
  local name=$1 broadcasts=$2 servers=() mine=(); shift 2
  for number in 1 2; do
    RUST_LOG=socketio=info "$@" >"$log/$name.$number" 2>&1 & mine+=($!); pids+=($!)
    servers+=("$!@$(address "$log/$name.$number")")
  done
  printf '%-28s' "$name"
  "$examples/bench_cluster" "$broker" "${CLIENTS:-1000}" "$broadcasts" "${servers[@]}"
  kill "${mine[@]}"; wait "${mine[@]}" 2>/dev/null || true
}

ulimit -n "$(ulimit -Hn)"
compare "this crate" 500 "$examples/bench_server" 0 "$broker"
compare "python-socketio, threading" 10 \
  tests/peers/venv/bin/python tests/peers/socketio_server.py threading 0 25 20 "$broker"
