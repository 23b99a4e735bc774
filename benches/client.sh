#!/usr/bin/env bash
# CPU time of clients for each event that they receive, emit, and call with, against the JavaScript server: this
# crate, socket.io-client, python-socketio's SimpleClient, and rust_socketio. What `tests/run` installs must be
# there; rust_socketio needs OpenSSL's headers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --quiet --release --example bench_client
CARGO_TARGET_DIR=target/peers cargo build --quiet --release --manifest-path benches/peers/rust_socketio/Cargo.toml
export NODE_PATH=$PWD/tests/peers/node_modules
coproc SERVER { exec node benches/peers/server.js; }
# Its id is gone as soon as the shell has waited for it.
server=$SERVER_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r url <&"${SERVER[0]}"
count=${COUNT:-100000}
for client in "this crate:target/release/examples/bench_client" \
  "rust_socketio:target/peers/release/rust_socketio_bench" \
  "socket.io-client:node benches/peers/client.js" \
  "python-socketio:tests/peers/venv/bin/python benches/peers/client.py"; do
  echo "== ${client%%:*}"
  # The interpreted one gets less to do.
  times=$count; [ "${client%%:*}" = python-socketio ] && times=$((count / 10))
  # shellcheck disable=SC2086
  ${client#*:} "$url" "$times"
done
