#!/bin/bash
# tools/serve --check fetches the page over every port kind, leaves nothing behind, and a second
# run beside the first is told so.
set -u
cd "$(dirname "$0")/../.."
failed=0
fail() { echo "FAILED: $*"; failed=1; }
output=$(mktemp)
serve=
finish() {
  [[ -z $serve ]] || { kill -INT "$serve" 2>/dev/null; wait "$serve"; }
  rm -f "$output"
}
trap finish EXIT
trap 'exit 130' INT TERM
export USHER_BUILD=${USHER_BUILD:-$PWD/build}

[[ $EUID -eq 0 ]] || { echo "needs root"; exit 77; }
mkdir -p /run/usher
if ! flock -w 300 /run/usher/lab.lock true; then
  echo "another tools/serve is running on this machine"
  exit 77
fi

nothing_left() {
  local left
  left=$(ip netns list | grep '^usher-lab')$(ip -o link show | grep usher)$(ls -d /run/usher/lab 2>/dev/null)
  [[ -z $left ]] || fail "$1 left behind: $left"
}

for arguments in "" "--port-kind af_packet" "--port-kind af_xdp" "--port-kind virtio" "--host-netns"; do
  echo "tools/serve --check $arguments"
  # shellcheck disable=SC2086
  tools/serve --check $arguments >"$output" 2>&1
  code=$?
  sed 's/^/  /' "$output"
  [[ $code -eq 0 ]] || fail "exit code $code"
  for page in 'http://198.18.0.2/: HTTP/1.1 200' 'http://\[2001:2::2\]/: HTTP/1.1 200'; do
    grep -q "$page" "$output" || fail "no line $page"
  done
  nothing_left "--check $arguments"
done

echo "tools/serve, used while it runs"
env --default-signal=INT tools/serve >"$output" 2>&1 </dev/null &
serve=$!
for ((i = 0; i < 3000; ++i)); do
  grep -q 'SYN queue' "$output" && break
  kill -0 "$serve" 2>/dev/null || break
  sleep 0.1
done
sed 's/^/  /' "$output"
try=$(sed -n 's/^Try: *//p' "$output")
[[ $try == "ip netns exec usher-lab curl http://198.18.0.2/" ]] || fail "it says to try: $try"
$try -sS --max-time 300 2>&1 | grep -q '<title>' || fail "no page by: $try"
second=$(tools/serve --check 2>&1)
code=$?
echo "  second run: $second"
[[ $code -eq 1 && $second == *"another tools/serve is running"* && $second != *$'\n'* ]] ||
  fail "the second run ended with $code and said: $second"
kill -INT "$serve"
wait "$serve"
code=$?
serve=
[[ $code -eq 130 ]] || fail "exit code $code after Ctrl-C"
nothing_left "Ctrl-C"

echo "tools/serve, killed outright"
env --default-signal=INT tools/serve >"$output" 2>&1 </dev/null &
serve=$!
for ((i = 0; i < 3000; ++i)); do
  grep -q 'SYN queue' "$output" && break
  kill -0 "$serve" 2>/dev/null || break
  sleep 0.1
done
kill -KILL "$serve"
wait "$serve" 2>/dev/null
serve=
tools/serve --check >"$output" 2>&1 || fail "the next run says: $(cat "$output")"
nothing_left "a run after one that was killed"

for arguments in "--port-kind nonsense" "--nonsense" "--config" "--host-netns --port-kind af_packet"; do
  # shellcheck disable=SC2086
  tools/serve $arguments >"$output" 2>&1
  code=$?
  [[ $code -eq 2 ]] || fail "tools/serve $arguments: exit code $code"
done
[[ $failed -eq 0 ]] && echo passed
exit "$failed"
