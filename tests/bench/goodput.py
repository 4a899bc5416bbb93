#!/usr/bin/env python3
"""Goodput and fairness over a long link with loss, usher beside the kernel's own stack.

  sudo tests/bench/goodput.py [--runs N] [--megabytes N] [--seconds N]

Both servers stand behind the same link (tests/live/link.cc), with the same congestion control, and
serve the same client in turns. The last line is JSON. A benchmark, not a test: what it prints are
ratios of one run.
"""

import argparse
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'live'))
from lab import Lab, main, need, tool, wait_until  # noqa: E402

KERNEL4 = '198.18.0.3'
LOSSY = {'rate_mbit': 100, 'queue': 400, 'delay_ms': 10, 'loss': 0.01}
BOTTLENECK = {'rate_mbit': 40, 'queue': 130, 'delay_ms': 10}  # two bandwidth-delay products


# /bytes/N, as usherd has it. Not nginx: a congestion control can be asked for by socket only, where
# the namespace's default must be one of tcp_allowed_congestion_control.
KERNEL_SERVER = '''
import socket, sys, threading
def serve(s):
    with s:
        left = int(s.recv(65536).split()[1].rpartition(b"/")[2])
        s.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % left)
        block = bytes(1 << 18)
        try:
            while left:
                left -= s.send(block[:left])
        except OSError:
            pass
listener = socket.create_server(("0.0.0.0", 80), backlog=64)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[1].encode())
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
'''


def kernel_server(lab, algorithm):
    """A server in a namespace of its own, on the server's side of the link."""
    pid, enter = lab._namespace()
    tool('ip', 'link', 'add', 'kernel0', 'type', 'veth', 'peer', 'name', 'server0')
    tool('ip', 'link', 'set', 'server0', 'netns', pid)
    for prefix, device in ((enter, 'server0'), ([], 'kernel0')):
        tool(*prefix, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off')
    tool('sysctl', '-q', '-w', 'net.ipv6.conf.kernel0.disable_ipv6=1')
    tool('ip', 'link', 'set', 'kernel0', 'up')
    tool(*enter, 'ip', 'addr', 'add', f'{KERNEL4}/15', 'dev', 'server0')
    tool(*enter, 'ip', 'link', 'set', 'server0', 'up')
    # As usher, which has no route cache: no connection begins with what another one learnt.
    tool(*enter, 'sysctl', '-q', '-w', 'net.ipv4.tcp_no_metrics_save=1')
    prefix, lab._client_prefix = lab._client_prefix, enter
    lab.spawn(sys.executable, '-c', KERNEL_SERVER, algorithm)
    lab._client_prefix = prefix


def fetch(lab, url, most_s=None):
    """Bytes a second of one transfer; of as much as comes in most_s seconds, where that is given."""
    limit = [] if most_s is None else ['-m', most_s]
    said = lab.run('curl', '-sS', *limit, '-o', '/dev/null', '-w',
                   '%{stderr}%{size_download} %{time_total}', url,
                   ok=0 if most_s is None else 28, text=True).stdout
    size, time_s = said.split()[-2:]
    return float(size) / float(time_s)


def goodput(algorithm, options):
    """Megabits a second: (usher, kernel), medians of transfers in turns."""
    settings = {'net.ipv4.tcp_congestion_control': algorithm}
    # The server's side of the second cable is made before the link looks for it.
    with Lab('tap', settings=settings, link={}) as lab:
        kernel_server(lab, algorithm)
        lab.beside = ['kernel0']
        lab.set_link({})
        urls = {'usher': lab.url(f'/bytes/{options.megabytes << 20}'),
                'kernel': f'http://{KERNEL4}/bytes/{options.megabytes << 20}'}
        wait_until(lambda: lab.run('curl', '-sS', '-o', '/dev/null', urls['kernel'],
                                   ok=None).returncode == 0, 'the kernel\'s server')
        rates = {name: [] for name in urls}
        for run in range(options.runs):
            for name, url in urls.items():
                lab.set_link({**LOSSY, 'seed': run})
                rates[name].append(fetch(lab, url) * 8 / 1e6)
        row = {'algorithm': algorithm, **{n: round(statistics.median(r), 2) for n, r in rates.items()}}
        row['ratio'] = round(row['usher'] / row['kernel'], 2)
        print(f'goodput, {algorithm}: {row}', flush=True)
        shares = {}
        if algorithm == 'cubic':
            shares = fairness(lab, urls, options)
        return row, shares


def fairness(lab, urls, options):
    """The first flow's share of what two get through a bottleneck together."""
    shares = {}
    # Longer than any link here could carry in that time.
    endless = lab.url(f'/bytes/{1 << 33}')
    kernel = f'http://{KERNEL4}/bytes/{1 << 33}'
    pairs = {'usher beside usher': (endless, endless), 'usher beside kernel': (endless, kernel),
             'kernel beside kernel': (kernel, kernel)}
    for name, both in pairs.items():
        measured = []
        for run in range(options.runs):
            lab.set_link({**BOTTLENECK, 'seed': run})
            with ThreadPoolExecutor() as pool:
                first, second = pool.map(lambda url: fetch(lab, url, options.seconds), both)
            measured.append(first / (first + second))
        shares[name] = [round(share, 2) for share in measured]
        print(f'{name}, share of the first: {shares[name]}', flush=True)
    return shares


def bench():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--megabytes', type=int, default=16)
    parser.add_argument('--seconds', type=int, default=20)
    options = parser.parse_args()
    need('curl', 'ethtool')
    rows, shares = [], {}
    for algorithm in ('cubic', 'bbr'):
        row, found = goodput(algorithm, options)
        rows.append(row)
        shares.update(found)
    print(json.dumps({'goodput_mbit': rows, 'shares': shares}))


main(bench)
