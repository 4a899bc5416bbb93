#!/bin/bash
# Requests a second that wrk gets from usherd and from nginx on the kernel's stack, side by side:
# one core for the server, one for wrk; a body of 438 bytes; 64 connections, kept and closed.
#
#   usage: sudo tests/bench/wrk_compare.sh [BUILD-DIRECTORY]
#   SECONDS_EACH=3   length of each run
#   EXTRA_VDEV=...   further arguments of af_packet, e.g. ,qdisc_bypass=1
#   POLL=poll        usherd never sleeps (default adaptive)
#
# Runs in network namespaces of its own, which end with it. Needs root, two cores, wrk, nginx.
set -euo pipefail

here=$(realpath "$(dirname "$0")/../..")
build=$(realpath "${1:-$here/build}")
seconds=${SECONDS_EACH:-3}
if [[ -z ${WRK_COMPARE_INSIDE:-} ]]; then
  exec unshare --net --mount --propagation private env WRK_COMPARE_INSIDE=1 "$0" "$build"
fi
for tool in wrk nginx ethtool; do
  command -v $tool >/dev/null || { echo "wrk_compare: $tool is not installed" >&2; exit 2; }
done
mount -t sysfs sysfs /sys
ip link set lo up

work=$(mktemp -d /tmp/wrk_compare.XXXXXX)
server= holder=
end() { [[ -z $1 ]] || { kill "$1" 2>/dev/null && wait "$1" 2>/dev/null; } || true; }
cleanup() {
  end "$server"
  end "$holder"
  rm -rf "$work" "/run/dpdk/wrk_compare_$$"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# The server's end of a veth pair lies in a namespace of its own.
make_veth() {
  unshare --net sleep infinity &
  holder=$!
  until [[ $(readlink /proc/$holder/ns/net) != $(readlink /proc/self/ns/net) ]]; do sleep 0.01; done
  enter=(nsenter "--net=/proc/$holder/ns/net")
  ip link add client0 type veth peer name server0
  ip link set server0 netns $holder
  "${enter[@]}" sysctl -qw net.ipv6.conf.server0.disable_ipv6=1
  "${enter[@]}" ip link set server0 up
  ip addr add 198.18.0.1/15 dev client0
  ip link set client0 up
}
remove_veth() {
  ip link del client0
  end "$holder"
  holder=
}

start_nginx() {
  "${enter[@]}" ip addr add 198.18.0.2/15 dev server0
  cat > "$work/nginx.conf" <<EOF
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  server {
    listen 80 backlog=1024;
    location / { default_type text/plain; return 200 "$(head -c 438 /dev/zero | tr '\0' x)"; }
  }
}
EOF
  "${enter[@]}" taskset -c 0 nginx -c "$work/nginx.conf" -p "$work" &
  server=$!
}

start_usherd() {  # device, then the prefix of the command
  local vdev=$1
  shift
  cat > "$work/usherd.toml" <<EOF
[eal]
args = ["-l", "0", "--no-huge", "-m", "512", "--no-pci", "--file-prefix=wrk_compare_$$", "--vdev=$vdev"]
[[interface]]
port = 0
addresses = ["198.18.0.2/15"]
mac = "02:00:00:00:00:02"
[stack]
poll = "${POLL:-adaptive}"
[[listener]]
port = 80
backlog = 1024
service = "http"
root = "$here/config/www"
EOF
  "$@" "$build/app/usherd" --config "$work/usherd.toml" 2> "$work/usherd.log" &
  server=$!
}

measure() {  # name, path
  local name=$1 url=http://198.18.0.2$2 kept closed
  until curl -sf -o /dev/null --max-time 2 "$url" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || { cat "$work"/*.log >&2; exit 1; }
    sleep 0.1
  done
  local rate='/Requests\/sec/ { print $2 }'
  kept=$(taskset -c 1 wrk -t1 -c64 -d"$seconds" "$url" | awk "$rate")
  closed=$(taskset -c 1 wrk -t1 -c64 -d"$seconds" -H 'Connection: close' "$url" | awk "$rate")
  printf '%-28s %14s %14s\n' "$name" "$kept" "$closed"
}

printf 'load %s\n%-28s %14s %14s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" '' 'kept req/s' 'closed req/s'

make_veth
start_nginx
measure 'nginx, kernel, veth' /
end "$server"; server=
remove_veth

make_veth
ethtool -K client0 tx off tso off gso off > /dev/null  # af_packet: frames as on a wire
start_usherd "net_af_packet0,iface=server0${EXTRA_VDEV:-}" "${enter[@]}"
measure 'usherd, af_packet, veth' /bytes/438
end "$server"; server=
remove_veth

start_usherd net_tap0,iface=usher0 env
until ip link show usher0 > /dev/null 2>&1; do
  kill -0 "$server" 2>/dev/null || { cat "$work"/*.log >&2; exit 1; }
  sleep 0.1
done
ip addr add 198.18.0.1/15 dev usher0
ip link set usher0 up
measure 'usherd, TAP' /bytes/438
