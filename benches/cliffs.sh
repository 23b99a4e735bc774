#!/usr/bin/env bash
# Where a server could cost more than its work, beside the JavaScript server: see cliffs.rs. What `tests/run`
# installs must be there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
echo "== this crate"
cargo bench --quiet --bench cliffs
export NODE_PATH=$PWD/tests/peers/node_modules
coproc SERVER { exec node benches/peers/cliffs.js; }
# Its id is gone as soon as the shell has waited for it.
server=$SERVER_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r address <&"${SERVER[0]}"
echo "== socket.io (node)"
while IFS= read -r line && [ -n "$line" ]; do echo "$line"; done <&"${SERVER[0]}"
cargo bench --quiet --bench cliffs -- "$address"
