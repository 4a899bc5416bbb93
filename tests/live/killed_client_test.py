#!/usr/bin/env python3
"""Clients that are killed in mid-transfer: the server goes on, and has its memory back."""

import signal
import socket
import struct

from lab import (DISCARD, HTTP, SERVER4, SERVER6, Lab, case, equal, main, need, pattern,
                 pattern_sha256, sha256_of, wait_until)


ENDLESS = 1 << 40


def await_bytes(path, count):
    wait_until(lambda: path.exists() and path.stat().st_size >= count, f'{count} bytes in {path}')


def killed_while_it_reads(lab, version):
    got = lab.directory / 'got'
    got.unlink(missing_ok=True)
    with open(got, 'wb') as sink:
        child = lab.spawn('curl', '-sS', '-N', '--limit-rate', '8M',
                          lab.url(f'/bytes/{ENDLESS}', version), stdout=sink)
        await_bytes(got, 1 << 20)
        equal(child.end(signal.SIGKILL), -signal.SIGKILL, 'how curl ended')
    got.unlink()


def killed_while_stopped(lab, version):
    """The client's window is shut by then, and the server probes it."""
    got = lab.directory / 'got'
    got.unlink(missing_ok=True)
    with open(got, 'wb') as sink:
        child = lab.spawn('curl', '-sS', '-N', lab.url(f'/bytes/{ENDLESS}', version), stdout=sink)
        await_bytes(got, 1 << 20)
        child.popen.send_signal(signal.SIGSTOP)
        equal(lab.run('curl', '-sS', lab.url('/bytes/3')).stdout, pattern(3).decode(),
              'body for another client meanwhile')
        child.popen.send_signal(signal.SIGKILL)
        child.wait()
    got.unlink()


def killed_while_it_writes(lab, version):
    host = SERVER4 if version == 4 else f'[{SERVER6}]'
    child = lab.spawn('socat', '-u', 'OPEN:/dev/zero', f'TCP{version}:{host}:{DISCARD}')
    wait_until(lambda: lab.status()['connections']['established'] >= 2, 'the upload')
    equal(child.end(signal.SIGKILL), -signal.SIGKILL, 'how socat ended')


def gone_before_accept(lab, _):
    """Reset right after the handshake, a hundred times."""
    for _ in range(100):
        s = socket.create_connection((SERVER4, HTTP), timeout=300)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.close()


def test():
    need('curl', 'socat')
    with Lab('tap') as lab:
        before = lab.baseline()
        for version in (4, 6):
            for step in (killed_while_it_reads, killed_while_stopped, killed_while_it_writes,
                         gone_before_accept):
                with case(f'IPv{version}: {step.__name__.replace("_", " ")}'):
                    step(lab, version)
                    lab.back_to(before)
        with case('the server goes on'):
            got = lab.directory / 'got'
            lab.run('curl', '-sS', '--fail', '-o', got, lab.url('/bytes/5000000'))
            equal(sha256_of(got), pattern_sha256(5_000_000), 'SHA-256')


main(test)
