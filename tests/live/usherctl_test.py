#!/usr/bin/env python3
"""usherctl against a running server, and beside the kernel's ss for a listener treated the same."""

import contextlib
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from lab import (CLIENT4, SERVER4, USHERCTL, USHERD, HTTP_LISTENER, Lab, Process, ROOT, case, check,
                 equal, main, need, wait_until)

FULL, CLASSIC_5, CLASSIC_512 = 81, 82, 83
BACKLOG, CONNECTS = 5, 11
LISTENERS = [
    HTTP_LISTENER,
    {'port': FULL, 'service': 'none', 'backlog': BACKLOG, 'address': '0.0.0.0', 'listen_model': 'linux'},
    {'port': CLASSIC_5, 'service': 'none', 'backlog': 5, 'address': SERVER4},
    {'port': CLASSIC_512, 'service': 'none', 'backlog': 512, 'address': '::', 'v6_only': True},
]
SETTINGS = {'net.core.somaxconn': 128, 'net.ipv4.tcp_max_syn_backlog': 8192}
NOBODY = 65534


class Tool:
    """usherctl for one lab."""

    def __init__(self, lab):
        self.lab = lab
        self.environment = {**os.environ, 'USHER_NSTAT_HISTORY': str(lab.directory / 'nstat')}

    def run(self, *arguments, ok=0, instance=True):
        """(stdout, stderr)"""
        chosen = ['--instance', self.lab.instance] if instance else []
        done = subprocess.run([str(USHERCTL), *chosen, *arguments], stdin=subprocess.DEVNULL,
                              env=self.environment, capture_output=True, text=True, timeout=60)
        equal(done.returncode, ok, f'exit code of usherctl {" ".join(arguments)} ({done.stderr})')
        if ok != 0:
            equal(done.stderr.count('\n'), 1, f'lines of error: {done.stderr!r}')
            check(done.stderr.startswith('usherctl: '), f'error: {done.stderr!r}')
        return done.stdout, done.stderr

    def lines(self, *arguments):
        return self.run(*arguments)[0].splitlines()

    def json(self, *arguments):
        return json.loads(self.run('--json', *arguments)[0])


def fields(line):
    """A line of ss with its blanks made one, without the column of processes."""
    return ' '.join(line.replace('Process', '').split())


def overfill(address, port):
    """Eleven clients whose connections nobody accepts."""
    clients = []
    for _ in range(CONNECTS):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((address, port))
        clients.append(client)
        time.sleep(0.02)  # one after the other, as far as the server is concerned
    return clients


def server_rows(lines, port):
    """State, Recv-Q, Send-Q of the rows whose local port is `port`, sorted."""
    rows = [fields(line).split() for line in lines[1:]]
    return sorted(row[:3] for row in rows if row[3].endswith(f':{port}'))


@contextlib.contextmanager
def kernel_listener():
    with socket.socket() as listener:
        listener.bind(('0.0.0.0', FULL))
        listener.listen(BACKLOG)
        yield listener


def same_rows_as_the_kernel(tool):
    ours = overfill(SERVER4, FULL)
    with kernel_listener():
        theirs = overfill('127.0.0.1', FULL)
        def kernel(*flags):
            return subprocess.run(['ss', *flags], capture_output=True, text=True,
                                  check=True).stdout.splitlines()
        full = f'LISTEN {BACKLOG + 1} {BACKLOG} 0.0.0.0:{FULL} 0.0.0.0:*'
        wait_until(lambda: full in map(fields, kernel('-ltn')), 'the kernel to have a full queue')
        wait_until(lambda: full in map(fields, tool.lines('ss', '-ltn')), 'ours to be full too')
        equal(fields(tool.lines('ss', '-ltn')[0]), fields(kernel('-ltn')[0]), 'heading')
        equal(server_rows(tool.lines('ss', '-tan'), FULL), server_rows(kernel('-tan'), FULL),
              'rows of ss -tan')
        for client in theirs:
            client.close()
    return ours


def what_holds_a_listener_back(tool):
    rows = {line.split()[3].rpartition(':')[2]: line for line in tool.lines('ss', '-lne')}
    for port, expected in ((CLASSIC_5, 'half-open:0/16 young:0 cookies:0/0/0 held-back-by:backlog'),
                           (CLASSIC_512, 'half-open:0/256 young:0 cookies:0/0/0 held-back-by:somaxconn')):
        check(expected in rows[str(port)], f'{rows[str(port)]!r} lacks {expected!r}')
    # Without cookies Linux keeps the last quarter for peers it knows.
    tool.lines('sysctl', 'net.ipv4.tcp_syncookies=0', 'net.ipv4.tcp_max_syn_backlog=16')
    rows = {line.split()[3].rpartition(':')[2]: line for line in tool.lines('ss', '-lne')}
    expected = 'half-open:0/13 young:0 cookies:0/0/0 held-back-by:tcp_max_syn_backlog'
    check(expected in rows[str(CLASSIC_512)], f'{rows[str(CLASSIC_512)]!r} lacks {expected!r}')
    tool.lines('sysctl', 'net.ipv4.tcp_syncookies=1', 'net.ipv4.tcp_max_syn_backlog=128')
    equal(fields(rows[str(CLASSIC_512)]).split()[:5], ['LISTEN', '0', '128', f'[::]:{CLASSIC_512}',
                                                       '[::]:*'], 'row of an IPv6 listener')


def timers_and_info(tool):
    with socket.create_connection((SERVER4, 80)) as client:
        client.sendall(b'GET /bytes/100000 HTTP/1.1\r\nHost: x\r\n\r\n')
        got = 0
        while got < 100000:
            got += len(client.recv(65536))
        port = client.getsockname()[1]
        lines = tool.lines('ss', '-tni')
        at = next(i for i, line in enumerate(lines) if line.endswith(f' {CLIENT4}:{port}'))
        check(re.fullmatch(r'\t ts sack cubic wscale:\d+,\d+ rto:\d+ rtt:[\d.]+/[\d.]+ ato:\d+ mss:1448 '
                           r'pmtu:1500 rcvmss:536 advmss:1448 cwnd:\d+ bytes_sent:\d+ bytes_acked:\d+ .*snd_wnd:\d+', lines[at + 1]),
              f'info: {lines[at + 1]!r}')
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
    # The server closed second, so nothing of it is left there.
    wait_until(lambda: not any(line.endswith(f':{port}') for line in tool.lines('ss', '-tan')),
               'the connection to be gone')
    clients = overfill(SERVER4, CLASSIC_5)
    def requests():
        return [line for line in tool.lines('ss', '-tano') if line.startswith('SYN-RECV')]
    found = wait_until(requests, 'half-open requests')
    check(all(re.search(r' timer:\(on,[\d.]+(ms|sec),\d+\)$', line) for line in found),
          f'timers: {found}')
    for client in clients:
        client.close()


def counters(tool):
    first = {line.split()[0]: int(line.split()[1]) for line in tool.lines('nstat', '-a')[1:]}
    equal(first['TcpExtListenOverflows'] >= CONNECTS - BACKLOG - 1, True, 'overflows counted')
    rows = tool.lines('nstat', 'TcpExtListen*', 'TcpPassive*')
    equal(rows[0], '#usher', 'heading')
    subprocess.run(['curl', '-sS', '-o', '/dev/null', '--no-keepalive', f'http://{SERVER4}/'],
                   check=True, stdin=subprocess.DEVNULL)
    rows = [line.split()[:2] for line in tool.lines('nstat', 'TcpPassiveOpens')[1:]]
    equal(rows, [['TcpPassiveOpens', '1']], 'since the last call')
    equal(tool.json('nstat', '-az', 'TcpActiveOpens'), {'usher': {'TcpActiveOpens': 0}}, 'JSON')
    equal(tool.lines('nstat', 'NoSuchCounter'), ['#usher'], 'of an unknown name')


def settings(tool):
    name = 'net.ipv4.tcp_syncookies'
    equal(tool.lines('sysctl', name), [f'{name} = 1'], 'value')
    equal(tool.lines('sysctl', f'{name}=0', 'net/core/somaxconn'),
          [f'{name} = 0', 'net.core.somaxconn = 128'], 'setting one, reading another')
    equal(tool.json('sysctl', name), {name: '0'}, 'JSON')
    check(len(tool.lines('sysctl', '-a')) > 40, 'all of them')
    tool.run('sysctl', f'{name}=1')
    for wrong in (f'{name}=-1', 'net.core.somaxconn=x', 'net.nonsense', 'net.nonsense=1', '-x'):
        tool.run('sysctl', wrong, ok=2)
    equal(tool.lines('sysctl', name), [f'{name} = 1'], 'value after refusals')


def ledger(tool):
    rows = tool.json('drops')
    mine = [row for row in rows if row['listener'] == f'0.0.0.0:{FULL}']
    check(any(row['reason'] == 'syn-accept-queue-full' and row['count'] > 0 for row in mine),
          f'ledger: {rows}')
    equal(tool.lines('drops')[0].split(), ['Listener', 'Shard', 'Reason', 'Count'], 'heading')
    equal(len(tool.lines('drops')) >= 1 + len(rows), True, 'rows')


def telemetry(tool):
    need('dpdk-telemetry.py')
    questions = ['/usher/listeners', '/usher/connections', '/usher/counters', '/usher/drops',
                 '/usher/sysctl,net.core.somaxconn', 'quit']
    told = subprocess.run(['dpdk-telemetry.py', '-f', tool.lab.instance], input='\n'.join(questions),
                          capture_output=True, text=True, check=True, timeout=60).stdout
    answers = {}
    for found in re.finditer(r'^\{"/usher/.*\}$', told, re.MULTILINE):
        answers.update(json.loads(found.group(0)))
    listeners = answers['/usher/listeners']
    at = listeners['local'].index(f'0.0.0.0:{FULL}')
    equal((listeners['recv_q'][at], listeners['send_q'][at]), (BACKLOG + 1, BACKLOG), 'queue')
    equal(answers['/usher/connections']['state'].count('ESTAB'), BACKLOG + 1, 'connections')
    check(answers['/usher/counters']['TcpExtListenOverflows'] > 0, 'counters')
    check('syn-accept-queue-full' in answers['/usher/drops']['reason'], 'drops')
    equal(answers['/usher/sysctl'], {'net/core/somaxconn': '128'}, 'sysctl')


def live_view(tool):
    frame = tool.lines('top', '-n', '1', '-d', '0.2')
    check(max(map(len, frame)) <= 80, f'wider than 80 columns: {frame}')
    check(any(f'0.0.0.0:{FULL}' in line and '6/5' in line and '[##########]' in line
              for line in frame), f'no full queue in {frame}')
    rows = tool.run('--json', 'top', '-n', '2', '-d', '0.1')[0].splitlines()
    equal([sorted(json.loads(row)) for row in rows],
          [['counters', 'listeners', 'per_shard', 'status']] * 2, 'JSON')
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(str(USHERCTL), [str(USHERCTL), '--instance', tool.lab.instance, 'top'])
    seen = b''
    while b'Accept queue' not in seen:
        seen += os.read(terminal, 65536)
    os.write(terminal, b'q')
    with contextlib.suppress(OSError):  # the terminal's end
        while data := os.read(terminal, 65536):
            seen += data
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, 'exit code after q')
    os.close(terminal)
    check(seen.rstrip().endswith(b'\033[?1049l'), 'the screen is not given back')


def strangers_are_refused(tool):
    """Not even when the files' modes would let them."""
    directory = tool.lab.directory / 'stranger'
    directory.mkdir()
    program = shutil.copy(USHERCTL, directory)
    for path in (tool.lab.directory, directory):
        path.chmod(0o755)
    def stranger():
        return subprocess.run([program, '--instance', tool.lab.instance, 'sysctl', '-a'], user=NOBODY,
                              group=NOBODY, extra_groups=[], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, cwd='/')
    done = stranger()
    equal((done.returncode, done.stdout), (1, ''), 'a stranger')
    check('no server called' in done.stderr, f'said: {done.stderr!r}')
    runtime = Path('/run/dpdk', tool.lab.instance)
    equal(oct((runtime / 'usher.sock').stat().st_mode & 0o777), '0o600', 'mode of the socket')
    before = runtime.parent.stat().st_mode & 0o777
    try:
        for path, mode in ((runtime.parent, 0o755), (runtime, 0o755), (runtime / 'usher.sock', 0o666)):
            path.chmod(mode)
        done = stranger()
    finally:
        runtime.parent.chmod(before)
    equal((done.returncode, done.stdout), (1, ''), 'a stranger with access to the file')
    check('only root and the server' in done.stderr, f'said: {done.stderr!r}')


def several_servers(tool):
    name = f'{tool.lab.instance}-second'
    eal = f'--no-huge -m 128 --no-pci --file-prefix={name} --vdev=net_ring0 --lcores 0'
    second = Process([USHERD, '--config', ROOT / 'config' / 'memory.toml', '--set',
                      'stack.max_connections=256', '--eal', eal], tool.lab.directory / 'second.log',
                     cwd=ROOT)
    try:
        wait_until(lambda: second.popen.poll() is not None or
                   'usherd: serving' in second.output(), 'a second server')
        _, error = tool.run('ss', '-l', instance=False, ok=1)
        check(tool.lab.instance in error and name in error and '--instance' in error,
              f'said: {error!r}')
        check(tool.run('--instance', name, 'ss', '-ltn', instance=False)[0].startswith('State'),
              'the second server')
        equal(tool.run('--instance', name, 'shutdown', instance=False), ('', ''), 'shutdown')
        equal(second.wait(), 0, f'exit code of the second server ({second.output()})')
    finally:
        second.end()
        shutil.rmtree(f'/run/dpdk/{name}', ignore_errors=True)
    tool.run('--instance', name, 'ss', instance=False, ok=1)


def slow_readers(tool):
    """They wait alone."""
    path = f'/run/dpdk/{tool.lab.instance}/usher.sock'
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            slow = stack.enter_context(socket.socket(socket.AF_UNIX))
            slow.connect(path)
            slow.sendall(b'{"command":"counters"}\n' * 500)
        for _ in range(3):
            subprocess.run(['curl', '-sS', '-o', '/dev/null', f'http://{SERVER4}/'], check=True,
                           stdin=subprocess.DEVNULL)
            tool.run('ss', '-ltn')


def wrong_calls(tool):
    for arguments in (['nonsense'], ['ss', '-x'], ['nstat', '-x'], ['top', '-d', '0'], ['sysctl'],
                      ['drops', 'x'], ['shutdown', 'now'], []):
        tool.run(*arguments, ok=2)
    tool.run('--instance', 'no-such-server', 'ss', instance=False, ok=1)
    check('usage: usherctl' in tool.run('--help')[0], 'help')


def test():
    need('ss', 'curl')
    with Lab('tap', listeners=LISTENERS, settings=SETTINGS) as lab:
        tool = Tool(lab)
        for name, step in (('wrong calls', wrong_calls),
                           ('the literature\'s backlogs', what_holds_a_listener_back),
                           ('timers and info', timers_and_info)):
            with case(name):
                step(tool)
        with case('an overfilled listener has the kernel\'s rows'):
            clients = same_rows_as_the_kernel(tool)
        for name, step in (('counters', counters), ('settings', settings), ('ledger', ledger),
                           ('telemetry', telemetry), ('top', live_view),
                           ('slow readers', slow_readers), ('several servers', several_servers),
                           ('strangers', strangers_are_refused)):
            with case(name):
                step(tool)
        for client in clients:
            client.close()
        with case('shutdown'):
            tool.run('shutdown')
            equal(lab.server.popen.wait(60), 0, 'exit code of usherd')


if __name__ == '__main__':
    main(test)
