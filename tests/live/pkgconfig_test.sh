#!/bin/bash
# The installed library, as an embedder meets it: app/examples/echo.cc is built outside the tree with
# nothing but pkg-config, started, and as root talked to over a TAP.
set -euo pipefail
build=$(realpath "${USHER_BUILD:-build}")
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
ns=usher-pkgconfig-$$
pid=

cleanup() {
  [[ -z $pid ]] || kill "$pid" 2>/dev/null || true
  [[ -z $pid ]] || wait "$pid" 2>/dev/null || true
  ip netns del "$ns" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
  echo "FAILED: $*"
  cat "$work"/*.log 2>/dev/null || true
  exit 1
}

# Waits up to 20 s for a line of $work/echo.log.
await_line() {
  for _ in $(seq 200); do
    grep -q "$1" "$work/echo.log" && return
    kill -0 "$pid" 2>/dev/null || fail "the server ended early"
    sleep 0.1
  done
  fail "no '$1' from the server"
}

stop() {
  local code=0
  kill -TERM "$pid"
  wait "$pid" || code=$?
  pid=
  [[ $code == 0 ]] || fail "exit code $code after SIGTERM"
}

meson install -C "$build" --no-rebuild --destdir "$work/dest" >"$work/install.log" 2>&1 || fail "meson install"
pc=$(find "$work/dest" -name usher.pc)
[[ -n $pc ]] || fail "no usher.pc"
# What a package manager does not have to: the prefix is elsewhere than configured.
sed -i "s|^prefix=.*|prefix=${pc%/lib*/pkgconfig/usher.pc}|" "$pc"
export PKG_CONFIG_PATH=${pc%/usher.pc}
cp "$root/app/examples/echo.cc" "$work/"
cd "$work"
# shellcheck disable=SC2046
"${CXX:-c++}" -std=c++20 -O1 -Wall -Wextra -Werror echo.cc -o echo \
  $(pkg-config --cflags --libs usher) >cxx.log 2>&1 || fail "the example does not build"

./echo --no-huge --no-shconf -m 256 --no-pci --vdev=net_null0,no-rx=1 >echo.log 2>&1 &
pid=$!
await_line serving
stop
echo "built outside the tree, started and stopped"

[[ $EUID == 0 ]] || { echo "not root: no traffic"; exit 0; }
ip netns add "$ns"
ip netns exec "$ns" ./echo --no-huge --no-shconf -m 256 --no-pci --vdev=net_tap0,iface=usher0 >echo.log 2>&1 &
pid=$!
for _ in $(seq 200); do ip -n "$ns" link show usher0 >/dev/null 2>&1 && break; sleep 0.1; done
ip -n "$ns" addr add 198.18.0.1/15 dev usher0
ip -n "$ns" addr add 2001:2::1/48 dev usher0 nodad
ip -n "$ns" link set usher0 up
await_line serving
head -c 4000000 /dev/urandom >sent
for address in 198.18.0.2 2001:2::2; do
  timeout 60 ip netns exec "$ns" nc -N "$address" 7 <sent >received || fail "nc $address"
  cmp sent received || fail "what came back over $address is not what was sent"
done
stop
echo "4 MB echoed over IPv4 and over IPv6"
