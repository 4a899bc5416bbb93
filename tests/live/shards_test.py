#!/usr/bin/env python3
"""Two shards on one port without RSS: every connection works whatever queue its segments come by,
an accept queue is one for both."""

import os
import socket

from lab import (LISTENERS, SERVER4, SERVER6, USHERCTL, Lab, case, check, equal, main, need,
                 wait_until)

BODY = 20 << 20
QUEUE_PORT = 8081
BACKLOG = 21
# Worker cores on the machine's own, however few it has.
CORES = f'--lcores=0@0,1@0,2@{1 if (os.cpu_count() or 1) > 1 else 0}'


def many_clients(lab):
    """Nobody meets an error, and no frame is lost between the shards."""
    equal(lab.status()['shards'], 2, 'shards')
    for host in (SERVER4, SERVER6):
        said = lab.run('wrk', '-t1', '-c64', '-d3s',
                       f'http://{f"[{host}]" if ":" in host else host}/bytes/438').stdout
        check('Socket errors' not in said and 'Non-2xx' not in said, said)
    counters = lab.counters()
    equal(counters.get('UsherSteerDropped', 0), 0, 'frames lost between shards')


def bodies(lab):
    """Whole to the last byte, though ARP, NDP and ICMP come by one queue only."""
    for version in (4, 6):
        lab.run('ping', '-q', '-c3', '-i0.2', SERVER4 if version == 4 else SERVER6)
        lab.run('ip', f'-{version}', 'neigh', 'flush', 'dev', lab.device)
        lab.down(version, BODY)


def one_backlog(lab):
    """Nobody accepts: as many connections as one listener would hold, however they are spread."""
    clients = []
    try:
        for _ in range(2 * BACKLOG):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((SERVER4, QUEUE_PORT))
            clients.append(client)

        def row():
            text = lab.run(USHERCTL, '--instance', lab.instance, 'ss', '-ltn').stdout
            rows = [line.split() for line in text.splitlines() if f':{QUEUE_PORT} ' in line]
            equal(len(rows), 1, 'rows of the listener')
            return [int(n) for n in rows[0][1:3]]
        wait_until(lambda: row()[0] == BACKLOG + 1, 'the accept queue to be full')
        equal(row(), [BACKLOG + 1, BACKLOG], 'Recv-Q and Send-Q')
    finally:
        for client in clients:
            client.close()


def test():
    need('curl', 'ping', 'wrk')
    listeners = [*LISTENERS, {'address': '::', 'port': QUEUE_PORT, 'backlog': BACKLOG,
                              'service': 'none', 'listen_model': 'linux'}]
    for kind in ('tap', 'af_packet'):
        with Lab(kind, listeners=listeners, stack={'shards': 2}, eal=(CORES,),
                 settings={'net.ipv4.tcp_syncookies': 0}) as lab:
            for part in (many_clients, bodies, one_backlog):
                with case(f'{kind}: {part.__doc__}'):
                    part(lab)


if __name__ == '__main__':
    main(test)
