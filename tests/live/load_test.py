#!/usr/bin/env python3
"""usher-load against usherd over virtio-user, and against nginx on the kernel over af_packet: what
it says it did is what the server counted, in every mode; nothing is expected to be fast."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from lab import (BUILD, CLIENT4, DISCARD, HTTP, LISTENERS, ROOT, SERVER4, SERVER6, USHERD, Process, case,
                 check, config_text, equal, main, need, tool, wait_until)

USHER_LOAD = BUILD / 'tools' / 'usher-load'
SECONDS = 2
BODY = 438


class Pair:
    """usherd on a virtio-user port, whose vhost side is the generator's."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix='usher-load-'))
        self.instance = f'usher-load-{os.getpid()}'
        self.socket = self.directory / 'vhost.sock'
        self.runs = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)
        for name in Path('/run/dpdk').glob(f'{self.instance}*'):
            shutil.rmtree(name, ignore_errors=True)

    def eal(self, name, *more):
        return ['--no-huge', '-m', '512', '--no-pci', f'--file-prefix={self.instance}-{name}', *more]

    def start(self, *arguments, to, address):
        """Both processes; the generator waits for the link."""
        self.runs += 1
        eal = self.eal(f'c{self.runs}', f'--vdev=net_vhost0,iface={self.socket}')
        load = Process([USHER_LOAD, '--eal', ' '.join(eal), '--to', to, '--address', address,
                        '--json', '--warmup', '0.2', *arguments], self.directory / 'load.log')
        wait_until(lambda: self.socket.exists() or load.popen.poll() is not None, 'the vhost socket')
        eal = self.eal(f's{self.runs}', f'--vdev=net_virtio_user0,path={self.socket}')
        config = self.directory / 'usherd.toml'
        config.write_text(config_text(eal, LISTENERS, {'max_connections': 16384}))
        server = Process([USHERD, '--config', config], self.directory / 'usherd.log', cwd=ROOT)
        return load, server

    def run(self, *arguments, port=HTTP, to=None, address=f'{CLIENT4}/15', code=0, interrupt_after=None):
        """The generator's result and, of the server, its counters."""
        load, server = self.start('--seconds', str(SECONDS), *arguments, to=to or f'{SERVER4}:{port}',
                                  address=address)
        try:
            if interrupt_after is not None:
                time.sleep(interrupt_after)
                load.popen.send_signal(signal.SIGINT)
            equal(load.wait(), code, f'exit code of usher-load, which says:\n{load.output()}')
            counters = self.counters()
        finally:
            load.end()
            ended = server.end()
        equal(ended, 0, f'exit code of usherd, which says:\n{server.output()}')
        text = load.output()
        return json.loads(text[text.index('{'):text.rindex('}') + 1]), counters

    def counters(self):
        said = tool(BUILD / 'tools' / 'usherctl', '--instance', f'{self.instance}-s{self.runs}',
                    '--json', 'nstat', '-a', '-z', '-s')
        return json.loads(said)['usher']


def well(result):
    """Nothing failed, and what is said of the generator itself can be true."""
    equal(result['failures'], 0, f'failures of {result}')
    check(result['answers'] > 0, f'no answer: {result}')
    equal(result['all']['body_bytes'], BODY * result['all']['answers'], 'bytes of all bodies')
    believable(result)


def believable(result):
    check(result['seconds'] >= SECONDS, f'measured for {result["seconds"]} s')
    for core in result['cores']:
        check(0 <= core['busy'] <= 1 and 0 <= core['cpu'] <= 1.2, f'CPU use: {core}')


def against_usherd(pair):
    path = ('--path', f'/bytes/{BODY}')
    with case('rps: as many connections as the server accepted, every request answered'):
        result, counters = pair.run('--connections', '100', *path)
        well(result)
        equal(result['all']['connections_opened'], 100, 'connections opened')
        equal(counters['TcpPassiveOpens'], 100, 'TcpPassiveOpens')
        latency = result['latency_us']
        check(0 < latency['p50'] <= latency['p99'] <= latency['p99.99'] <= latency['max'],
              f'latencies: {latency}')

    with case('rps by IPv6, pipelined, at a rate'):
        result, counters = pair.run('--rate', '1000', '--pipeline', '8', *path, to=f'[{SERVER6}]:80',
                                    address='2001:2::1/48')
        well(result)
        asked = result['rate_asked'] * result['seconds']
        equal(result['answers'] + result['overdue'] <= asked + 600, True,
              'no more than was asked for, but for what was late')
        equal(counters['TcpPassiveOpens'], 64, 'TcpPassiveOpens')

    with case('cps: one request for each connection the server accepted'):
        result, counters = pair.run('--mode', 'cps', '--connections', '32', *path)
        well(result)
        equal(counters['TcpPassiveOpens'], result['all']['connections_opened'], 'TcpPassiveOpens')
        equal(result['all']['answers'] + result['unanswered'], result['all']['connections_opened'],
              'answers')

    with case('bulk down and up'):
        result, _ = pair.run('--mode', 'bulk', '--connections', '4')
        equal(result['failures'], 0, 'failures')
        check(result['body_bytes'] > 1 << 20, f'bytes down: {result["body_bytes"]}')
        result, _ = pair.run('--mode', 'bulk', '--connections', '4', '--direction', 'up', port=DISCARD)
        equal(result['failures'], 0, 'failures')
        check(result['body_bytes'] > 1 << 20, f'bytes up: {result["body_bytes"]}')

    with case('syn-flood: every frame reaches the server and is answered'):
        result, counters = pair.run('--mode', 'syn-flood', '--rate', '2000')
        believable(result)
        check(0 < result['frames'] <= 2000 * (result['seconds'] + 0.1), f'frames: {result}')
        sent = counters['TcpExtSyncookiesSent'] + counters['TcpOutSegs']
        check(sent >= result['syn_acks'] > 0, f'{result["syn_acks"]} SYN-ACKs, of {counters}')
        equal(counters['TcpInErrs'], 0, 'TcpInErrs')
        equal(counters['TcpPassiveOpens'], 0, 'TcpPassiveOpens')

    with case('ack-flood: every frame is answered by a reset'):
        result, counters = pair.run('--mode', 'ack-flood', '--rate', '2000')
        check(0 < result['resets'] <= counters['TcpOutRsts'] <= result['all']['frames'], f'{result}')
        equal(result['syn_acks'] + result['other_answers'], 0, 'other answers')
        equal(counters['TcpInErrs'], 0, 'TcpInErrs')

    with case('a port where nobody listens: exit code 1, and the reason'):
        result, _ = pair.run(port=81, code=1)
        check(result['failures'] > 0 and result['answers'] == 0, f'{result}')
        check('connection refused' in result['errors'], f'{result["errors"]}')

    with case('Ctrl-C ends it with what was measured'):
        result, _ = pair.run('--seconds', '200', *path, interrupt_after=3)
        equal(result['interrupted'], True, 'interrupted')
        check(result['answers'] > 0 and result['seconds'] < 100, f'{result}')


NGINX = '''
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log {directory}/access.log combined;
  keepalive_requests 1000;
  server {{
    listen 80 backlog=1024;
    location / {{ default_type text/plain; return 200 "{body}"; }}
  }}
}}
'''


def against_nginx(directory):
    """The generator's end of the veth is in this namespace, where no kernel answers for it."""
    holder = Process(['unshare', '--net', 'sleep', 'infinity'], directory / 'holder.log')
    nginx = None
    try:
        own = os.readlink('/proc/self/ns/net')
        wait_until(lambda: os.readlink(f'/proc/{holder.pid}/ns/net') != own, 'a namespace')
        enter = ['nsenter', f'--net=/proc/{holder.pid}/ns/net']
        tool('ip', 'link', 'add', 'load0', 'type', 'veth', 'peer', 'name', 'server0')
        tool('ip', 'link', 'set', 'server0', 'netns', holder.pid)
        tool('sysctl', '-q', '-w', 'net.ipv6.conf.load0.disable_ipv6=1')
        tool(*enter, 'ethtool', '-K', 'server0', 'tx', 'off', 'tso', 'off', 'gso', 'off')
        tool(*enter, 'ip', 'addr', 'add', f'{SERVER4}/15', 'dev', 'server0')
        tool(*enter, 'ip', 'link', 'set', 'server0', 'up')
        tool('ip', 'link', 'set', 'load0', 'up')
        (directory / 'nginx.conf').write_text(NGINX.format(directory=directory, body='x' * BODY))
        nginx = Process([*enter, 'nginx', '-c', directory / 'nginx.conf', '-p', directory],
                        directory / 'nginx.out')
        wait_until(lambda: (directory / 'nginx.pid').exists() or nginx.popen.poll() is not None, 'nginx')
        check(nginx.popen.poll() is None, f'nginx says: {nginx.output()}')
        for mode in ('rps', 'cps'):
            with case(f'{mode}: nginx has logged as many requests as were answered'):
                log = directory / 'access.log'
                before = len(log.read_bytes().splitlines())
                eal = ('--no-huge -m 256 --no-pci --vdev=net_af_packet0,iface=load0,framecnt=4096 '
                       f'--file-prefix=usher-load-{os.getpid()}-{mode}')
                said = subprocess.run([USHER_LOAD, '--eal', eal, '--to', f'{SERVER4}:80', '--mode', mode,
                                       '--mac', '02:00:00:00:00:01', '--seconds', str(SECONDS),
                                       '--connections', '20', '--json'], capture_output=True, text=True,
                                      check=False)
                equal(said.returncode, 0, f'exit code; it says:\n{said.stdout}{said.stderr}')
                result = json.loads(said.stdout)
                well(result)
                logged = len(log.read_bytes().splitlines()) - before
                check(0 <= logged - result['all']['answers'] <= result['unanswered'],
                      f'{logged} requests logged, {result["all"]["answers"]} answered')
    finally:
        if nginx is not None:
            nginx.end(signal.SIGQUIT)
        subprocess.run(['ip', 'link', 'del', 'load0'], stderr=subprocess.DEVNULL, check=False)
        holder.end(signal.SIGKILL)
        for mode in ('rps', 'cps'):
            shutil.rmtree(f'/run/dpdk/usher-load-{os.getpid()}-{mode}', ignore_errors=True)


def wrong_calls():
    for arguments in ([], ['--to', f'{SERVER4}:80'], ['--eal', 'x', '--to', 'nowhere'],
                      ['--eal', '--no-huge', '--to', f'{SERVER4}:80', '--mode', 'x'], ['--colour']):
        said = subprocess.run([USHER_LOAD, *arguments], capture_output=True, text=True, check=False)
        equal(said.returncode, 2, f'exit code for {arguments}')
        check(re.fullmatch(r'usher-load: [^\n]+\n', said.stderr), f'{arguments}: {said.stderr!r}')
        equal(said.stdout, '', 'what it prints')


def test():
    need('nginx', 'ethtool')
    with case('wrong calls: exit code 2, one line'):
        wrong_calls()
    with Pair() as pair:
        against_usherd(pair)
        against_nginx(pair.directory)


if __name__ == '__main__':
    main(test)
