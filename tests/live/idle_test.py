#!/usr/bin/env python3
"""A server at rest sleeps, with open connections too, and takes next to no processor time; one at
work does not sleep, nor one that is told to poll."""

import os
import socket
import time

from lab import SERVER4, HTTP, Lab, case, check, equal, main, need, wait_until

CONNECTIONS = 1000
WATCHED_S = 2
# Of a core. At rest it is about one per cent; a shard that never slept would take what it gets.
SHARE = 0.1


def processor_s(pid):
    """User and system time that a process has taken."""
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        fields = file.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def rests(lab):
    """The share of a core over some seconds."""
    time.sleep(0.5)
    start, before = time.monotonic(), processor_s(lab.server.pid)
    time.sleep(WATCHED_S)
    share = (processor_s(lab.server.pid) - before) / (time.monotonic() - start)
    check(share < SHARE, f'{100 * share:.1f}% of a core at rest')
    return share


def at_rest(lab):
    print(f'  {100 * rests(lab):.1f}% of a core without a connection')
    held = [socket.create_connection((SERVER4, HTTP)) for _ in range(CONNECTIONS)]
    print(f'  {100 * rests(lab):.1f}% of a core with {CONNECTIONS}')
    for s in held:
        s.close()


def woken(lab):
    """A TAP tells of a packet, so that nobody waits for the end of a sleep."""
    before = lab.counters()['UsherSleepsCutShort']
    for _ in range(5):
        time.sleep(0.05)
        lab.run('ping', '-q', '-c1', SERVER4)
    check(lab.counters()['UsherSleepsCutShort'] >= before + 5, 'packets ended no sleeps')


def at_work(lab):
    """Under load there are no sleeps but where the clients, on the same cores, do not get to ask."""
    before = lab.counters()['UsherSleeps']
    served = lab.status()['listeners'][0]['accepted']
    said = lab.run('wrk', '-t1', '-c64', '-d2s', lab.url('/bytes/438')).stdout
    requests = int(said.split(' requests in ')[0].split()[-1])
    sleeps = lab.counters()['UsherSleeps'] - before
    check(lab.status()['listeners'][0]['accepted'] > served, 'wrk did not come')
    print(f'  {sleeps} sleeps in {requests} requests')
    check(sleeps < requests / 5, f'{sleeps} sleeps in {requests} requests')


def test():
    need('wrk', 'ping')
    for kind in ('tap', 'af_packet'):
        with Lab(kind) as lab:
            before = lab.baseline()
            with case(f'{kind}: at rest'):
                at_rest(lab)
            with case(f'{kind}: at work'):
                at_work(lab)
            if kind == 'tap':
                with case('tap: a packet ends a sleep'):
                    woken(lab)
            lab.back_to(before)
    with case('told to poll'), Lab('tap', stack={'poll': 'poll'}) as lab:
        wait_until(lambda: lab.status()['uptime_s'] > 1, 'a second to pass')
        equal(lab.counters()['UsherSleeps'], 0, 'sleeps')


if __name__ == '__main__':
    main(test)
