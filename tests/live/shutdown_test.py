#!/usr/bin/env python3
"""SIGTERM: no new connection, those under way end whole, exit code 0; and a server that was stopped
for a while goes on where it was."""

import signal
import socket
import time

from lab import (CHUNK, ECHO, HTTP, SERVER4, SERVER6, Lab, case, check, equal, main, need, pattern,
                 pattern_sha256, sha256_of, wait_until)

LENGTH = 40 << 20


def received(path):
    return path.stat().st_size if path.exists() else 0


def transfers_end_whole(lab):
    """The drain time outlasts these downloads; each comes to its end after SIGTERM."""
    files = [lab.directory / f'down{version}' for version in (4, 6)]
    clients = [lab.spawn('curl', '-sS', '--fail', '--limit-rate', '20M', '-o', file,
                         lab.url(f'/bytes/{LENGTH}', version))
               for version, file in zip((4, 6), files)]
    idle = [socket.create_connection((address, HTTP)) for address in (SERVER4, SERVER6)]
    for file in files:
        wait_until(lambda: received(file) > 1 << 20, f'the start of {file}')
    lab.server.popen.send_signal(signal.SIGTERM)
    for s in idle:
        equal(s.recv(1), b'', 'what an idle connection got')
    refused = socket.socket()
    equal(refused.connect_ex((SERVER4, HTTP)), 111, 'errno of a new connection (ECONNREFUSED)')
    for client, file in zip(clients, files):
        equal(client.wait(), 0, f'exit code of curl: {client.output()}')
        equal(sha256_of(file), pattern_sha256(LENGTH), 'SHA-256')
    equal(lab.server.wait(), 0, 'exit code of usherd')


def stuck_clients_are_reset(lab):
    """One that never reads and never closes does not keep the server from ending."""
    with socket.create_connection((SERVER4, HTTP)) as s:
        s.sendall(b'GET /bytes/100000000 HTTP/1.1\r\nHost: usher\r\n\r\n')
        s.recv(1, socket.MSG_PEEK)
        lab.server.popen.send_signal(signal.SIGTERM)
        equal(lab.server.wait(), 0, 'exit code of usherd')
        try:
            while s.recv(CHUNK):
                pass
            error = None
        except ConnectionResetError as reset:
            error = reset
        check(error, 'the stuck connection was not reset')


def second_signal(lab):
    lab.server.popen.send_signal(signal.SIGINT)
    lab.server.popen.send_signal(signal.SIGINT)
    equal(lab.server.wait(), 0, 'exit code of usherd')


def stopped_and_continued(lab):
    """Five seconds without the processor: transfers go on, nobody is reset."""
    file = lab.directory / 'down'
    client = lab.spawn('curl', '-sS', '--fail', '--limit-rate', '20M', '-o', file,
                       lab.url(f'/bytes/{LENGTH}'))
    with socket.create_connection((SERVER6, ECHO)) as quiet:
        quiet.sendall(b'before')
        equal(quiet.recv(6, socket.MSG_WAITALL), b'before', 'echo')
        wait_until(lambda: received(file) > 1 << 20, 'the start of the download')
        before = lab.counters()
        lab.server.popen.send_signal(signal.SIGSTOP)
        quiet.sendall(b'during')
        time.sleep(5)
        lab.server.popen.send_signal(signal.SIGCONT)
        equal(quiet.recv(6, socket.MSG_WAITALL), b'during', 'echo')
    equal(client.wait(), 0, f'exit code of curl: {client.output()}')
    equal(sha256_of(file), pattern_sha256(LENGTH), 'SHA-256')
    after = lab.counters()
    equal(after['TcpOutRsts'] - before['TcpOutRsts'], 0, 'resets')


def link_flaps(lab):
    """The kernel's end goes down and up a hundred times in mid-flow."""
    file = lab.directory / 'flapping'
    client = lab.spawn('curl', '-sS', '--fail', '--limit-rate', '4M', '-o', file,
                       lab.url(f'/bytes/{LENGTH // 4}'))
    wait_until(lambda: received(file) > 1 << 18, 'the start of the download')
    for _ in range(100):
        lab.run('ip', 'link', 'set', lab.device, 'down')
        lab.run('ip', 'link', 'set', lab.device, 'up')
    equal(client.wait(), 0, f'exit code of curl: {client.output()}')
    equal(sha256_of(file), pattern_sha256(LENGTH // 4), 'SHA-256')
    equal(lab.run('curl', '-sS', lab.url('/bytes/5')).stdout, pattern(5).decode(), 'body')


def test():
    need('curl')
    for step in (transfers_end_whole, stuck_clients_are_reset, second_signal):
        with Lab('tap', stack={'drain_s': 60 if step is transfers_end_whole else 2}) as lab:
            with case(step.__name__.replace('_', ' ')):
                step(lab)
    for kind in ('tap', 'af_packet'):
        with Lab(kind) as lab:
            before = lab.baseline()
            for step in (stopped_and_continued, link_flaps):
                with case(f'{kind}: {step.__name__.replace("_", " ")}'):
                    step(lab)
                    lab.back_to(before)


main(test)
