#!/usr/bin/env python3
"""usherctl capture: what the ports carry, as Wireshark reads it, while the server goes on."""

import os
import signal
import time

from lab import SERVER4, USHERCTL, Lab, case, check, equal, main, need, tool, wait_until


def rows(path, wanted='tcp', *fields):
    """One list of fields for each packet."""
    options = [word for field in fields for word in ('-e', field)]
    said = tool('tshark', '-n', '-r', path, '-Y', wanted, '-T', 'fields', *options)
    return [line.split('\t') for line in said.splitlines() if '\t' in line or line.isdigit()]


def begin(lab, *arguments):
    """A capture that has begun: its file has the headers, and a packet that we caused is in it."""
    path = lab.directory / f'capture-{time.monotonic_ns()}.pcapng'
    child = lab.spawn(USHERCTL, '--instance', lab.instance, 'capture', *arguments, path)
    wait_until(lambda: path.exists() and path.stat().st_size > 0, 'the capture to begin')
    return child, path


def end(child):
    equal(child.end(signal.SIGINT), 0, f'exit code of usherctl ({child.output()})')
    return child.output()


def both_ways(lab):
    before = time.time()
    child, path = begin(lab)
    lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/'))
    lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/', 6))
    said = end(child)
    check('0 dropped' in said, said)
    for ip, address in (('ip', SERVER4), ('ipv6', None)):
        seen = rows(path, f'tcp.port == 80 and {ip}', f'{ip}.src', 'tcp.flags.str', 'frame.time_epoch',
                    'frame.interface_id')
        flags = [row[1].strip('·') for row in seen]
        check(flags[:3] == ['S', 'A··S', 'A'] or len(flags) > 6, f'{ip}: {flags}')
        if address:
            check({row[0] for row in seen} > {address}, f'one way only: {seen}')
        times = [float(row[2]) for row in seen]
        check(times == sorted(times) and before - 1 < times[0] <= times[-1] < time.time() + 1,
              f'times {times[0]} to {times[-1]}, now {time.time()}')
    requests = tool('tshark', '-n', '-r', path, '-Y', 'http.request', '-T', 'fields', '-e',
                    'http.request.uri')
    check('/' in requests.split(), f'no request in it: {requests!r}')


def so_many(lab):
    child, path = begin(lab, '-c', '7', '-s', '80')
    lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/bytes/100000'))
    equal(child.wait(), 0, 'exit code at the count')
    lengths = [int(row[0]) for row in rows(path, 'frame', 'frame.cap_len')]
    equal(len(lengths), 7, 'packets')
    check(max(lengths) == 80, f'longer than -s says: {lengths}')


def two_at_once_and_in_a_storm(lab):
    """Captures come and go under load; the server loses no connection by it."""
    load = lab.spawn('wrk', '-t1', '-c32', '-d120', lab.url('/'))
    files = []
    for _ in range(3):
        first, path = begin(lab)
        second, other = begin(lab)
        for file in (path, other):
            wait_until(lambda file=file: file.stat().st_size > 100_000, 'frames')
        end(first)
        end(second)
        files += [path, other]
    equal(load.end(signal.SIGINT), 0, 'exit code of wrk')
    for file in files:
        check(len(rows(file, 'tcp.port == 80', 'frame.number')) > 100, f'{file.name} is empty')
    check('Socket errors' not in load.output() and 'Non-2xx' not in load.output(), load.output())


def client_is_killed(lab):
    child, path = begin(lab)
    equal(child.end(signal.SIGKILL), -signal.SIGKILL, 'SIGKILL')
    lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/'))
    size = wait_until(lambda: path.stat().st_size, 'the file')
    time.sleep(0.5)  # what still waited may have been written
    size = path.stat().st_size
    lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/bytes/100000'))
    equal(path.stat().st_size, size, 'size of a file that nobody wants any more')


def full_disk(lab):
    child = lab.spawn(USHERCTL, '--instance', lab.instance, 'capture', '/dev/full')
    equal(child.wait(), 1, 'exit code')
    check('No space left' in child.output(), child.output())


def test():
    need('curl', 'tshark', 'wrk')
    os.environ['HOME'] = '/nonexistent'  # tshark: nobody's settings
    for kind in ('tap', 'af_packet'):
        with Lab(kind) as lab:
            before = lab.baseline()
            for step in (both_ways, so_many, two_at_once_and_in_a_storm, client_is_killed, full_disk):
                with case(f'{kind}: {step.__name__.replace("_", " ")}'):
                    step(lab)
            with case(f'{kind}: everything is given back'):
                lab.back_to(before)


main(test)
