#!/usr/bin/env python3
"""What lies below TCP, against the kernel: a path with a smaller MTU, routers that
advertise themselves, addresses that others claim, several shards on one port."""

import socket
import struct

from lab import ROUTER4, ROUTER6, SERVER4, Lab, case, check, main, need, pattern, tool, wait_until

LENGTH = 4 << 20


def both_ways(lab, version):
    lab.down(version, LENGTH)
    lab.up_and_back(version, LENGTH)


def small_path_mtu(kind):
    """The link behind the router carries 1280 bytes, and the client does not say so in its MSS."""
    with Lab(kind, routed=True) as lab:
        before = lab.baseline()
        tool('ip', 'link', 'set', 'router0', 'mtu', '1280')
        lab.run('ip', 'link', 'set', 'client0', 'mtu', '1280')
        lab.run('ip', 'route', 'change', 'default', 'via', ROUTER4, 'advmss', '1460')
        lab.run('ip', '-6', 'route', 'change', 'default', 'via', ROUTER6, 'advmss', '1440')
        counters = lab.counters()
        for version in (4, 6):
            both_ways(lab, version)
        after = lab.counters()
        check(after['IcmpInDestUnreachs'] > counters['IcmpInDestUnreachs'],
              'no "fragmentation needed" reached usher')
        check(after['Icmp6InPktTooBigs'] > counters['Icmp6InPktTooBigs'],
              'no "packet too big" reached usher')
        lab.back_to(before)


def advertise(lab):
    """A router advertisement without a prefix: a default route for 30 minutes."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as s:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        index = socket.if_nametoindex(lab.device)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        s.bind(('fe80::1', 0, 0, index))
        s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0), ('ff02::1', 0, 0, index))


def advertised_router(kind):
    with Lab(kind, routed=True, interface={'gateway6': None}) as lab:
        tool('ip', 'addr', 'add', 'fe80::1/64', 'dev', lab.device, 'nodad')
        got = lab.run('curl', '-sS', '--max-time', '2', lab.url('/bytes/5', 6), ok=None).stdout
        check(pattern(5).decode() not in got, 'an answer came though there is no way back')
        advertise(lab)
        both_ways(lab, 6)


def claim(lab, address):
    """Another station says by ARP that `address` is its own."""
    mac = bytes.fromhex('020000001234')
    arp = struct.pack('!HHBBH', 1, 0x0800, 6, 4, 1) + mac + socket.inet_aton(address) + \
        bytes(6) + socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((lab.device, 0))
        s.send(b'\xff' * 6 + mac + b'\x08\x06' + arp)


def claimed_address(kind):
    """usher logs it, and keeps its address."""
    with Lab(kind) as lab:
        log = len(lab.server.output())
        claim(lab, SERVER4)
        said = wait_until(lambda: lab.server.output()[log:], 'a line in the log')
        check(SERVER4 in said and '02:00:00:00:12:34' in said, f'the log says: {said}')
        print(f'  {said.strip()}')
        tool('ip', 'neigh', 'flush', 'dev', lab.device)
        both_ways(lab, 4)


def test():
    need('curl', 'ping')
    for kind in ('tap', 'af_packet'):
        for step in (small_path_mtu, advertised_router, claimed_address):
            with case(f'{kind}: {step.__name__.replace("_", " ")}'):
                step(kind)


main(test)
