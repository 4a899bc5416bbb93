#!/usr/bin/env python3
"""Measures usherd and nginx on the kernel under the same generator, and what bounds both.

The server has core 0, usher-load core 1. Each row is the median of its runs. Results go to
results.json and results.svg beside this file, the ratios to the terminal. tools/bench builds what is
needed and calls this.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'live'))
from lab import (BUILD, CLIENT4, HTTP_LISTENER, ROOT, SERVER4, USHERD, Process,  # noqa: E402
                 check, config_text, main as run_in_namespace, need, tool, wait_until)
from plot import svg  # noqa: E402

BODY = 438
SERVER_MAC, CLIENT_MAC = '02:00:00:00:00:02', '02:00:00:00:00:01'
NGINX = '''
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  server {{
    listen 80 backlog=1024;
    location / {{ default_type text/plain; return 200 "{body}"; }}
  }}
}}
'''
BENCHES = {'SynCookie': 'SYN answered by cookie', 'SynTable': 'SYN answered from the table',
           'HandshakeAck': 'ACK of a handshake, accept', 'DataSegment': 'data segment of 1,448 bytes',
           'Request/64': 'request and response'}


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.directory = Path(tempfile.mkdtemp(prefix='usher-bench-'))
        self.prefix = f'usher-bench-{os.getpid()}'
        self.rows = []
        self.count = 0
        self.pages = ['--no-huge']

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        for path in Path('/run/dpdk').glob(f'{self.prefix}*'):
            shutil.rmtree(path, ignore_errors=True)

    def eal(self, core, vdev):
        self.count += 1
        return ['-l', str(core), *self.pages, '-m', '512', '--no-pci',
                f'--file-prefix={self.prefix}-{self.count}', f'--vdev={vdev}']

    # ---- servers ----

    @contextlib.contextmanager
    def veth(self):
        """The server's end is in a namespace of its own, frames are as on a wire."""
        holder = Process(['unshare', '--net', 'sleep', 'infinity'], self.directory / 'holder.log')
        try:
            own = os.readlink('/proc/self/ns/net')
            wait_until(lambda: os.readlink(f'/proc/{holder.pid}/ns/net') != own, 'a namespace')
            enter = ['nsenter', f'--net=/proc/{holder.pid}/ns/net']
            tool('ip', 'link', 'add', 'load0', 'type', 'veth', 'peer', 'name', 'server0')
            tool('ip', 'link', 'set', 'server0', 'netns', holder.pid)
            for prefix, device in (([], 'load0'), (enter, 'server0')):
                tool(*prefix, 'sysctl', '-q', '-w', f'net.ipv6.conf.{device}.disable_ipv6=1')
                tool(*prefix, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off')
                tool(*prefix, 'ip', 'link', 'set', device, 'up')
            yield enter
        finally:
            subprocess.run(['ip', 'link', 'del', 'load0'], stderr=subprocess.DEVNULL, check=False)
            holder.end(9)

    @contextlib.contextmanager
    def nginx(self, enter):
        tool(*enter, 'ip', 'addr', 'add', f'{SERVER4}/15', 'dev', 'server0')
        config = self.directory / 'nginx.conf'
        config.write_text(NGINX.format(directory=self.directory, body='x' * BODY))
        server = Process([*enter, 'taskset', '-c', '0', 'nginx', '-c', config, '-p', self.directory],
                         self.directory / 'nginx.out')
        try:
            wait_until((self.directory / 'nginx.pid').exists, 'nginx')
            yield
        finally:
            server.end()

    @contextlib.contextmanager
    def usherd(self, vdev, enter=()):
        config = self.directory / 'usherd.toml'
        config.write_text(config_text(self.eal(0, vdev), [HTTP_LISTENER], {'max_connections': 65536},
                                      {'net.ipv4.tcp_max_syn_backlog': 4096},
                                      {'addresses': [f'{SERVER4}/15'], 'mac': SERVER_MAC}))
        server = Process([*enter, USHERD, '--config', config], self.directory / 'usherd.log', cwd=ROOT)
        try:
            wait_until(lambda: 'serving' in server.output() or server.popen.poll() is not None, 'usherd')
            check(server.popen.poll() is None, server.output())
            yield
        finally:
            server.end()

    @contextlib.contextmanager
    def reflector(self, vdev):
        """dpdk-testpmd gives each frame back with its addresses swapped: the bare port."""
        server = Process(['dpdk-testpmd', '--lcores', '0@0,1@0', *self.eal(0, vdev)[2:], '--', '--forward-mode=5tswap',
                          '--auto-start', '--nb-cores=1', '--total-num-mbufs=16384', '--no-lsc-interrupt'],
                         self.directory / 'testpmd.log', stdin=subprocess.PIPE)
        try:
            yield
        finally:
            server.end()

    # ---- runs ----

    def load(self, vdev, *arguments):
        command = [BUILD / 'tools' / 'usher-load', '--eal', ' '.join(self.eal(1, vdev)),
                   '--to', f'{SERVER4}:80', '--address', f'{CLIENT4}/15', '--mac', CLIENT_MAC, '--json',
                   '--seconds', str(self.arguments.seconds), *arguments]
        return Process(command, self.directory / 'load.log')

    def result(self, load):
        code = load.wait()
        text = load.output()
        check(code == 0, f'usher-load ended with {code}:\n{text}')
        return json.loads(text[text.index('{'):text.rindex('}') + 1])

    def keep(self, server, link, what, runs, key, unit='per second'):
        runs = sorted(runs, key=lambda r: r[key])
        middle = runs[len(runs) // 2]
        row = {'what': what, 'server': server, 'link': link, 'median': middle[key],
               'least': runs[0][key], 'most': runs[-1][key], 'unit': unit,
               'generator_busy': round(max(c['busy'] for c in middle['cores']), 3),
               'bottleneck': middle['bottleneck']}
        if 'latency_us' in middle:
            row['latency_us'] = {p: middle['latency_us'][p] for p in ('p50', 'p99', 'p99.99')}
        self.rows.append(row)
        print(f'{what:24} {server:20} {link:12} {row["median"]:14,.0f}   '
              f'generator busy {row["generator_busy"]:.0%}', flush=True)

    def on_veth(self):
        for server in ('nginx, kernel', 'usherd'):
            for what, mode in (('requests, kept', 'rps'), ('connections', 'cps')):
                runs = []
                for _ in range(self.arguments.runs):
                    with self.veth() as enter:
                        serve = (self.nginx(enter) if server != 'usherd' else
                                 self.usherd('net_af_packet0,iface=server0', enter))
                        with serve:
                            runs.append(self.result(self.load(
                                'net_af_packet0,iface=load0', '--mode', mode, '--path', f'/bytes/{BODY}')))
                self.keep(server, 'veth', what, runs, 'answers_per_second')

    def on_virtio(self):
        for what, mode, key, unit in (
                ('requests, kept', 'rps', 'answers_per_second', 'per second'),
                ('connections', 'cps', 'answers_per_second', 'per second'),
                ('bulk', 'bulk', 'bits_per_second', 'bits per second'),
                ('SYNs answered', 'syn-flood', 'answers_per_second', 'per second')):
            more = ['--mode', mode] + (['--path', f'/bytes/{BODY}'] if mode in ('rps', 'cps') else [])
            self.keep('usherd', 'virtio', what, [self.virtio_run(self.usherd, more)
                                                 for _ in range(self.arguments.runs)], key, unit)
        # Its link is up long before it forwards.
        more = ['--mode', 'syn-flood', '--to-mac', SERVER_MAC, '--warmup', '3']
        self.keep('bare return (testpmd)', 'virtio', 'SYNs answered',
                  [self.virtio_run(self.reflector, more) for _ in range(self.arguments.runs)],
                  'answers_per_second')

    def on_hugepages(self):
        """The same as over virtio, with memory in pages of 2 MiB on both sides."""
        setting = Path('/proc/sys/vm/nr_hugepages')
        before = setting.read_text()
        pages, self.pages = self.pages, ['--in-memory', '--single-file-segments']
        try:
            setting.write_text('600')
            if int(setting.read_text()) < 600:
                print('hugepages: the kernel has not enough memory in one piece')
                return
            for what, mode in (('requests, kept', 'rps'), ('SYNs answered', 'syn-flood')):
                more = ['--mode', mode] + (['--path', f'/bytes/{BODY}'] if mode == 'rps' else [])
                self.keep('usherd', 'virtio, hugepages', what,
                          [self.virtio_run(self.usherd, more) for _ in range(self.arguments.runs)],
                          'answers_per_second')
        finally:
            self.pages = pages
            setting.write_text(before)

    def virtio_run(self, server, more):
        socket = self.directory / f'vhost-{self.count}.sock'
        load = self.load(f'net_vhost0,iface={socket}', *more)
        try:
            wait_until(lambda: socket.exists() or load.popen.poll() is not None, 'the vhost socket')
            with server(f'net_virtio_user0,path={socket},queue_size=1024,mac={SERVER_MAC}'):
                return self.result(load)
        finally:
            load.end()

    def in_process(self):
        said = subprocess.run([BUILD / 'tests' / 'bench' / 'usher-bench', '--benchmark_format=json',
                               f'--benchmark_filter=^({"|".join(BENCHES)})/manual_time$'], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for bench in json.loads(said)['benchmarks']:
            name = bench['name'].removesuffix('/manual_time')
            self.rows.append({'what': BENCHES[name], 'server': 'the stack alone', 'link': 'memory',
                              'median': bench['cycles'], 'unit': 'cycles'})
            print(f'{BENCHES[name]:45} {bench["cycles"]:14,.0f} cycles', flush=True)

    def ratios(self):
        """Of medians: usherd's to nginx's on veth, what the stack leaves of the bare port, hugepages."""
        found = {(r['what'], r['server'], r['link']): r['median'] for r in self.rows}
        ratios = {}
        for what in ('requests, kept', 'connections'):
            ratios[f'{what}: usherd / nginx on the kernel, veth'] = (
                found[what, 'usherd', 'veth'] / found[what, 'nginx, kernel', 'veth'])
        ratios['SYNs answered: usherd / bare return, virtio'] = (
            found['SYNs answered', 'usherd', 'virtio'] /
            found['SYNs answered', 'bare return (testpmd)', 'virtio'])
        for what in ('requests, kept', 'SYNs answered'):
            if (what, 'usherd', 'virtio, hugepages') in found:
                ratios[f'{what}: hugepages / without, virtio'] = (
                    found[what, 'usherd', 'virtio, hugepages'] / found[what, 'usherd', 'virtio'])
        return {name: round(ratio, 2) for name, ratio in ratios.items()}


def machine():
    model = next((line.split(':', 1)[1].strip() for line in open('/proc/cpuinfo', encoding='ascii')
                  if line.startswith('model name')), 'unknown')
    return {'cores': os.cpu_count(), 'model': model, 'kernel': os.uname().release,
            'date': time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()),
            'load': os.getloadavg()[0]}


def measure(arguments):
    need('nginx', 'ethtool', 'dpdk-testpmd')
    check((os.cpu_count() or 1) >= 2, 'two cores are needed: one for the server, one for the generator')
    bench = Bench(arguments)
    results = {'machine': machine(), 'seconds': arguments.seconds, 'runs': arguments.runs}
    try:
        bench.on_veth()
        bench.on_virtio()
        bench.on_hugepages()
        bench.in_process()
    finally:
        bench.close()
    results['rows'] = bench.rows
    results['ratios'] = bench.ratios()
    for name, ratio in results['ratios'].items():
        print(f'{name}: {ratio:.2f}')
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / 'results.json').write_text(json.dumps(results, indent=2) + '\n')
    (arguments.out / 'results.svg').write_text(svg(results))


def main():
    parser = argparse.ArgumentParser(prog='tools/bench', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=3, help='length of a run (default 3)')
    parser.add_argument('--runs', type=int, default=3, help='runs for each row (default 3)')
    parser.add_argument('--out', type=Path, default=HERE, help='where results.json and .svg go')
    arguments = parser.parse_args()
    run_in_namespace(lambda: measure(arguments))


if __name__ == '__main__':
    main()
