#!/usr/bin/env bash
# Instructions to find whom something is for, among 100 clients and among 10,000: callgrind's counts, which
# repeat exactly. Needs valgrind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(cargo bench --bench scale --features _bench --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*scale-[^"]*\)".*/\1/p' | tail -1)

count() { # CLIENTS WHAT TIMES
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

printf '%-44s%12s%12s\n' "instructions for each" "100" "10,000"
for what in "one:emit to one sid" "room:emit to a room of 10" "rooms:the same, each client in 100 rooms"; do
  printf '%-44s' "${what#*:}"
  for clients in 100 10000; do
    more=$(count "$clients" "${what%%:*}" 40000)
    less=$(count "$clients" "${what%%:*}" 20000)
    printf '%12d' $(((more - less) / 20000))
  done
  echo
done
