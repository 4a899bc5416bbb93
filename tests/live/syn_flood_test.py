#!/usr/bin/env python3
"""A SYN flood from spoofed sources while curl keeps working, by cookies; without them the ledger
tells why it does not."""

import fcntl
import random
import socket
import struct
import threading

from lab import HTTP, LISTENERS, SERVER4, Lab, case, check, equal, main, need

SYNS = 100_000
BURST = 200
BACKLOG = 128
SIOCGIFHWADDR = 0x8927


def checksum(data):
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def syn(ours, theirs, source, port, seq):
    """An Ethernet frame with a SYN from `source`, an address of 198.19.0.0/16 where nobody is."""
    server = socket.inet_aton(SERVER4)
    tcp = struct.pack('!HHIIBBHHH', port, HTTP, seq, 0, 0x60, 0x02, 64240, 0, 0) + b'\2\4\5\xb4'
    pseudo = source + server + struct.pack('!HH', 6, len(tcp))
    tcp = tcp[:16] + struct.pack('!H', checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + server
    ip = ip[:10] + struct.pack('!H', checksum(ip)) + ip[12:]
    return theirs + ours + b'\x08\x00' + ip + tcp


class Flood:
    """SYNS of them from a thread, each from another address and port; ends by itself."""

    def __init__(self, lab):
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((lab.device, 0))
        ours = fcntl.ioctl(self._socket, SIOCGIFHWADDR,
                           struct.pack('256s', lab.device.encode()))[18:24]
        neighbour = lab.run('ip', 'neigh', 'show', SERVER4).stdout.split()
        theirs = bytes.fromhex(neighbour[neighbour.index('lladdr') + 1].replace(':', ''))
        dice = random.Random(1)
        # As many different ones as make the sums affordable; the ports differ every time.
        self._frames = [syn(ours, theirs, b'\xc6\x13' + dice.randbytes(2),
                            dice.randrange(1024, 65536), dice.getrandbits(32))
                        for _ in range(SYNS // 10)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0

    def _send(self):
        while self.sent < SYNS and not self._stop.is_set():
            for frame in self._frames[self.sent % len(self._frames):][:BURST]:
                try:
                    self._socket.send(frame)
                except OSError:  # ENOBUFS: the device's queue is full
                    continue
                self.sent += 1
            self._stop.wait(0.001)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def going_on(self):
        return self._thread.is_alive()

    def wait(self):
        self._thread.join()


def ledger(lab):
    """Reason -> count, of the http listener."""
    rows = {}
    for row in lab.ctl('drops'):
        rows[row['reason']] = rows.get(row['reason'], 0) + row['count']
    return rows


def cookies_keep_it_open(lab):
    """Every curl succeeds while the flood goes on."""
    fetched = 0
    with Flood(lab) as flood:
        while flood.going_on():
            lab.run('curl', '-sS', '--fail', '--max-time', '60', '-o', '/dev/null', lab.url('/'))
            fetched += 1
    check(fetched >= 5, f'only {fetched} fetched while {flood.sent} SYNs were sent')
    counters = lab.counters()
    check(counters['TcpExtSyncookiesSent'] > SYNS // 2,
          f"{counters['TcpExtSyncookiesSent']} cookies sent for {flood.sent} SYNs")
    check(counters['TcpExtSyncookiesRecv'] > 0, 'no connection came by a cookie')
    print(f"  {flood.sent} SYNs, {counters['TcpExtSyncookiesSent']} cookies, {fetched} pages")


def without_cookies_the_ledger_tells(lab):
    """With tcp_syncookies = 0 clients are turned away, and each SYN is in the ledger."""
    before = lab.counters()
    with Flood(lab) as flood:
        said = lab.run('curl', '-sS', '--max-time', '2', '-o', '/dev/null', lab.url('/'), ok=None)
        failed = said.returncode != 0
        flood.wait()
    check(failed, 'curl got through a full table without a cookie')
    rows = ledger(lab)
    check(rows.get('syn-half-open-full', 0) > SYNS // 2,
          f'the ledger does not say that half-open requests filled their places: {rows}')
    after = lab.counters()
    equal(after['TcpExtSyncookiesSent'], before.get('TcpExtSyncookiesSent', 0), 'cookies sent')


def test():
    need('curl')
    listeners = [{**listener, 'backlog': BACKLOG, 'listen_model': 'linux'}
                 for listener in LISTENERS]
    for cookies, part in ((1, cookies_keep_it_open), (0, without_cookies_the_ledger_tells)):
        with Lab('tap', listeners=listeners,
                 settings={'net.ipv4.tcp_syncookies': cookies,
                           'net.ipv4.tcp_max_syn_backlog': 8 * BACKLOG}) as lab:
            with case(part.__doc__):
                part(lab)


if __name__ == '__main__':
    main(test)
