#!/usr/bin/env python3
"""Signed segments (RFC 2385) between the kernel's TCP_MD5SIG and usherd: every segment from SYN to
TIME-WAIT right, and nothing at all for who has no key, another one, or one where none is wanted."""

from lab import (CLIENT4, CLIENT6, DISCARD, ECHO, HTTP, SERVER4, SERVER6, Lab, case, check, equal, main,
                 need)

KEY = 'between us'
LISTENERS = [
    {'port': ECHO, 'service': 'echo', 'md5': [f'{CLIENT4}/32 {KEY}', f'{CLIENT6}/128 {KEY}']},
    {'port': DISCARD, 'service': 'discard', 'md5': [f'198.18.0.0/15 {KEY}', f'2001:2::/48 {KEY}']},
    {'port': HTTP, 'service': 'http'},
]

# The kernel's client: address, port, key (may be empty), bytes to send. Says what it got back, or why
# it could not connect.
CLIENT = '''
import hashlib, random, socket, struct, sys, threading
address, port, key, length = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4])
info = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
s = socket.socket(info[0], info[1])
if key:
    peer = struct.pack("=HH", info[0], 0)
    peer += (socket.inet_pton(info[0], address) if info[0] == socket.AF_INET else
             bytes(4) + socket.inet_pton(info[0], address))
    s.setsockopt(socket.IPPROTO_TCP, 14,
                 peer.ljust(128, bytes(1)) + struct.pack("=BBHI", 0, 0, len(key), 0) +
                 key.ljust(80, bytes(1)))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
try:
    s.connect(info[4])
except OSError as e:
    print(type(e).__name__)
    sys.exit()
data = random.Random(1).randbytes(length)
sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
sender.start()
back = b""
while part := s.recv(1 << 16):
    back += part
sender.join()
print("same" if back == data else "nothing" if not back else "other bytes")
'''

COUNTERS = ('TcpExtTCPMD5NotFound', 'TcpExtTCPMD5Unexpected', 'TcpExtTCPMD5Failure')


def said(lab, address, port, key, length=0):
    return lab.run('python3', '-c', CLIENT, address, port, key, length).stdout.strip()


def served(lab, address, port, length, wanted):
    before = lab.counters()
    equal(said(lab, address, port, KEY, length), wanted, 'what came back')
    after = lab.counters()
    for name in COUNTERS:
        equal(after[name], before[name], name)


def refused(lab, address, port, key, counter):
    """The kernel's SYNs are dropped in silence and counted."""
    before = lab.counters()
    equal(said(lab, address, port, key), 'TimeoutError', 'the client')
    after = lab.counters()
    for name in COUNTERS:
        more = after[name] - before[name]
        check(more >= 2 if name == counter else more == 0, f'{name} grew by {more}')
    equal(after['TcpOutRsts'], before['TcpOutRsts'], 'resets')


def test():
    need('python3')
    with Lab('tap', listeners=LISTENERS) as lab:
        before = lab.baseline()
        for address in (SERVER4, SERVER6):
            with case(f'{address}: a megabyte to and fro'):
                served(lab, address, ECHO, 1 << 20, 'same')
            with case(f'{address}: a key for a network'):
                served(lab, address, DISCARD, 1 << 20, 'nothing')
            with case(f'{address}: refused in silence'):
                refused(lab, address, ECHO, '', 'TcpExtTCPMD5NotFound')
                refused(lab, address, ECHO, 'another', 'TcpExtTCPMD5Failure')
                refused(lab, address, HTTP, KEY, 'TcpExtTCPMD5Unexpected')
        lab.back_to(before)


if __name__ == '__main__':
    main(test)
