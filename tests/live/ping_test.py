#!/usr/bin/env python3
"""ping: IPv4 and IPv6, packets in fragments, a short flood; and what finding an address takes."""

import re

from lab import CLIENT4, SERVER4, SERVER6, Lab, case, check, equal, main, need, tool

# Through DPDK's af_packet the kernel puts IPv4 fragments together before it hands them over, and cuts
# off what is longer than a frame.
LARGE = {('tap', SERVER4): (3000, 20000), ('tap', SERVER6): (3000, 20000),
         ('af_packet', SERVER4): (), ('af_packet', SERVER6): (3000, 20000)}


def answers(lab, count, *arguments):
    said = lab.run('ping', '-q', '-c', count, '-W', 60, *arguments, ok=None).stdout
    got = re.search(r'(\d+) packets transmitted, (\d+) received', said)
    check(got, f'ping says:\n{said}')
    equal(int(got[2]), count, f'answers; ping says:\n{said}')
    check('duplicates' not in said and 'errors' not in said and 'corrupted' not in said,
          f'ping says:\n{said}')


def neighbour(lab, address):
    return tool('ip', 'neigh', 'show', address, 'dev', lab.device)


def found_again(lab, address):
    """The kernel forgets usher and asks anew: by ARP to all, by NDP to a multicast address."""
    tool('ip', 'neigh', 'flush', 'dev', lab.device)
    check('lladdr' not in neighbour(lab, address), 'the kernel did not forget')
    answers(lab, 1, address)
    check('lladdr' in neighbour(lab, address), 'the kernel found no link address')


def link_local(lab):
    """usher's own link-local address answers a ping to all nodes."""
    said = lab.run('ping', '-6', '-c', 2, '-W', 60, f'ff02::1%{lab.device}', ok=None).stdout
    own = tool('ip', '-6', '-o', 'addr', 'show', 'dev', lab.device, 'scope', 'link')
    kernel = re.search(r'inet6 (\S+)/', own)[1]
    others = set(re.findall(r'from (fe80::[0-9a-f:]*[0-9a-f])%', said)) - {kernel}
    equal(len(others), 1, f'link-local addresses beside {kernel} that answer; ping says:\n{said}')
    answers(lab, 2, '-6', f'{others.pop()}%{lab.device}')


def unreachable(lab):
    """A datagram to a port where nobody is comes back as ICMP."""
    for address in (SERVER4, SERVER6):
        said = lab.run('python3', '-c', '''
import socket, sys
info = socket.getaddrinfo(sys.argv[1], 4000, type=socket.SOCK_DGRAM)[0]
s = socket.socket(info[0], info[1])
s.settimeout(300)
s.connect(info[4])
s.send(b"x")
try:
    s.recv(1)
except ConnectionRefusedError:
    print("refused")
''', address).stdout
        equal(said.strip(), 'refused', f'a datagram to {address}')


def nothing_is_forwarded(lab):
    """usher is no router: what is not for it is neither sent on nor answered."""
    tool('ip', 'route', 'add', '192.0.2.0/24', 'via', SERVER4)
    said = lab.run('ping', '-q', '-c', 2, '-W', 2, '-I', CLIENT4, '192.0.2.1', ok=None).stdout
    check(' 0 received' in said, f'ping says:\n{said}')


def test():
    need('ping')
    for kind in ('tap', 'af_packet'):
        with Lab(kind) as lab:
            before = lab.baseline()
            for address in (SERVER4, SERVER6):
                with case(f'{kind}: {address} is found by a kernel that forgot it'):
                    found_again(lab, address)
                with case(f'{kind}: {address} answers, of any size'):
                    for size in (0, 56, 1472, 1800, *LARGE[kind, address]):
                        answers(lab, 3, '-i', '0.2', '-s', size, address)
                with case(f'{kind}: {address} answers a flood of 1,000'):
                    answers(lab, 1000, '-f', address)
            with case(f'{kind}: the link-local address answers'):
                link_local(lab)
            with case(f'{kind}: no such port'):
                unreachable(lab)
            with case(f'{kind}: nothing is forwarded'):
                nothing_is_forwarded(lab)
            with case(f'{kind}: everything is given back'):
                lab.back_to(before)


main(test)
