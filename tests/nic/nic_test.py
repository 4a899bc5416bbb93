#!/usr/bin/env python3
"""usherd on network cards that DPDK's own drivers run: QEMU's e1000e and virtio-net."""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from guest import Guest, Server, fetch
from lab import (_die_with_parent, case, check, config_text, equal, main, need, random_file,
                 sha256_of, tool, wait_until)

# The cards' places on the guest's bus: two of a kind, the second ones in a VLAN.
E1000E, VIRTIO, TAGGED_E1000E, TAGGED_VIRTIO = (f'0000:00:{n:02x}.0' for n in range(2, 6))
DRIVEN = {E1000E: 'uio_pci_generic', VIRTIO: 'uio_pci_generic', TAGGED_E1000E: 'vfio-pci',
          TAGGED_VIRTIO: 'vfio-pci'}
E1000E_MAC, OUR_MAC = '02:00:00:00:00:e0', '02:00:00:00:00:77'
VLAN = 7
LENGTH = 1 << 20
PAGE = b'<p>a page</p>\n'
EAL = ['--in-memory']
STACK = {'max_connections': 1024}
LISTENER = {'port': 80, 'service': 'http', 'root': '/www', 'backlog': 256}


class Cable:
    """One card of the guest, and the host's end of its cable: a TAP with addresses."""

    def __init__(self, number, device):
        self.device = device
        self.host4, self.guest4 = f'198.18.{number}.1', f'198.18.{number}.2'
        self.host6, self.guest6 = f'2001:2:0:{number}::1', f'2001:2:0:{number}::2'

    def lay(self):
        tool('ip', 'addr', 'add', f'{self.host4}/24', 'dev', self.device)
        tool('ip', 'addr', 'add', f'{self.host6}/64', 'dev', self.device, 'nodad')
        tool('ip', 'link', 'set', self.device, 'up')

    def interface(self, port, **more):
        return {'port': port, 'addresses': [f'{self.guest4}/24', f'{self.guest6}/64'], **more}

    def url(self, path, version=4):
        return f'http://{self.guest4 if version == 4 else f"[{self.guest6}]"}{path}'


# Each kind of work left to the cards, or all but one kind, or none.
OFFLOADS = {
    'all': {'rx_checksum': 'port', 'tx_checksum': 'port', 'tso': True},
    'received sums': {'rx_checksum': 'stack', 'tx_checksum': 'port', 'tso': True},
    'sent sums': {'rx_checksum': 'port', 'tx_checksum': 'stack', 'tso': True},
    'TSO': {'rx_checksum': 'port', 'tx_checksum': 'port', 'tso': False},
    'none': {'rx_checksum': 'stack', 'tx_checksum': 'stack', 'tso': False},
}


CABLES = [Cable(i, f'nic{i}') for i in range(4)]
CARDS = [f'card{i}' for i in range(4)]


class Tagger:
    """A switch between a TAP and a card on UDP: what goes to the card is in the VLAN, and only that
    comes back. (The kernel's own VLAN devices are a module that not every machine has.)"""

    _TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454ca, 0x0002, 0x1000
    _TAG = struct.pack('!HH', 0x8100, VLAN)

    def __init__(self, device):
        self._tap = os.open('/dev/net/tun', os.O_RDWR)
        fcntl.ioctl(self._tap, self._TUNSETIFF,
                    struct.pack('16sH22x', device.encode(), self._IFF_TAP | self._IFF_NO_PI))
        self._card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._card.bind(('127.0.0.1', 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(('127.0.0.1', 0))
            self._peer = free.getsockname()
        for work in (self._to_card, self._from_card):
            threading.Thread(target=work, daemon=True).start()

    def netdev(self):
        """QEMU's argument for the card's end."""
        own = self._card.getsockname()[1]
        return f'socket,udp=127.0.0.1:{own},localaddr=127.0.0.1:{self._peer[1]}'

    def _to_card(self):
        while True:
            frame = os.read(self._tap, 2048)
            with contextlib.suppress(ConnectionRefusedError):
                self._card.sendto(frame[:12] + self._TAG + frame[12:], self._peer)

    def _from_card(self):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                frame = self._card.recv(2048)
                if frame[12:16] == self._TAG:
                    os.write(self._tap, frame[:12] + frame[16:])


def make_network():
    """The cables' ends at the host, and what QEMU makes of the other ends."""
    tool('ip', 'tuntap', 'add', 'nic0', 'mode', 'tap')
    tool('ip', 'tuntap', 'add', 'nic1', 'mode', 'tap', 'multi_queue')
    taggers = [Tagger('nic2'), Tagger('nic3')]
    for cable in CABLES:
        cable.lay()
    tap = 'tap,script=no,downscript=no,ifname'
    # Without vnet_hdr the e1000e makes the sums it is asked for, and the kernel checks them.
    ends = [f'{tap}=nic0,vnet_hdr=off', f'{tap}=nic1,queues=2,vhost=off',
            *(tagger.netdev() for tagger in taggers)]
    kinds = ['e1000e', 'virtio-net-pci,mq=on,rss=on,vectors=6', 'e1000e',
             'virtio-net-pci,disable-legacy=on,iommu_platform=on']
    arguments = []
    for i, (end, kind) in enumerate(zip(ends, kinds)):
        arguments += ['-netdev', f'{end},id=end{i}', '-device',
                      f'{kind},netdev=end{i},id={CARDS[i]},addr={i + 2},romfile=,'
                      f'mac=02:00:00:00:00:{0xe0 + i:02x}']
    return arguments


def config(interfaces, cores, shards):
    eal = [*EAL, f'--lcores={cores}']
    for interface in interfaces:
        eal += ['-a', interface['port']]
    text = config_text(eal, [LISTENER], {**STACK, 'shards': shards}, {}, interfaces[0])
    more = ''.join('[[interface]]\n' + ''.join(f'{k} = {json.dumps(v)}\n' for k, v in i.items())
                   for i in interfaces[1:])
    return (text + more).encode()


def curl(*arguments, ok=0):
    done = subprocess.run(['curl', '-sS', '--fail', '--max-time', '60', *map(str, arguments)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          preexec_fn=_die_with_parent)
    check(ok is None or done.returncode == ok, f'curl {arguments}: {done.stdout[-500:]}')
    return done.stdout


def counters(cable):
    return json.loads(curl(cable.url('/status')))['counters']


def both_ways(cable, directory, file_hash):
    """A page, a file by its hash, and as much upwards, by both families."""
    up, back = directory / 'up', directory / 'back'
    for version in (4, 6):
        equal(curl(cable.url('/index.html', version)), PAGE, 'the page')
        curl('-o', back, cable.url('/file.bin', version))
        equal(sha256_of(back), file_hash, 'SHA-256 of the file')
        wanted = random_file(up, LENGTH)
        curl('-H', 'Expect:', '-T', up, '-X', 'POST', '-o', back, cable.url('/echo', version))
        equal(sha256_of(back), wanted, 'SHA-256 of what went up and came back')


def pings(cable):
    """Whole, in fragments, and to the group of all nodes: the card must let that through."""
    for target in (cable.guest4, cable.guest6):
        for size in (56, 4000):
            tool('ping', '-q', '-c2', '-i0.2', '-s', size, target)
    said = tool('ping', '-6', '-c2', '-i0.2', f'ff02::1%{cable.device}')
    check('fe80::' in said, f'nobody in ff02::1 answered:\n{said}')


def ones_sum(data):
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def syn(cable, our_mac, bad_ip, bad_tcp):
    """A SYN as it stands on the wire, with a sum that is wrong by one where asked."""
    ends = socket.inet_aton(cable.host4) + socket.inet_aton(cable.guest4)
    tcp = struct.pack('!HHIIBBHHH', 40000, 80, 1, 0, 0x50, 0x02, 1000, 0, 0)
    total = ~ones_sum(ends + struct.pack('!HH', 6, len(tcp)) + tcp) & 0xffff
    tcp = tcp[:16] + struct.pack('!H', total ^ bad_tcp) + tcp[18:]
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + ends
    ip = ip[:10] + struct.pack('!H', (~ones_sum(ip) & 0xffff) ^ bad_ip) + ip[12:]
    source = bytes.fromhex(Path(f'/sys/class/net/{cable.device}/address').read_text().replace(':', ''))
    return bytes.fromhex(our_mac.replace(':', '')) + source + b'\x08\x00' + ip + tcp


def wrong_sums(cable, our_mac):
    """The card says which sums are wrong, or does not: they are counted and go no further."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((cable.device, 0))
        for name, bad_ip, bad_tcp in (('TcpInCsumErrors', 0, 1), ('IpInHdrErrors', 1, 0)):
            before = counters(cable)
            for _ in range(5):
                s.send(syn(cable, our_mac, bad_ip, bad_tcp))
            wait_until(lambda: counters(cable)[name] >= before[name] + 5, f'{name} to count')
            after = counters(cable)
            equal(after[name] - before[name], 5, name)
            # Only those who ask have come in between.
            check(after['TcpExtListenDrops'] == before['TcpExtListenDrops'], 'a SYN was half believed')


def link_flap(guest, cable, card):
    """The carrier goes and comes again."""
    guest.qmp('set_link', name=card, up=False)
    time.sleep(0.5)
    curl('--max-time', 2, cable.url('/index.html'), ok=None)
    guest.qmp('set_link', name=card, up=True)
    for version in (4, 6):
        wait_until(lambda: curl('--max-time', 5, cable.url('/index.html', version), ok=None) == PAGE,
                   'service after the link came back')


def plain(guest, directory, file_hash):
    """Both kinds under one server: what each agreed on, and that it carries everything."""
    with Server(guest, '/etc/plain.toml') as server:
        said = server.wait_serving()
        check(f'port {E1000E} (net_e1000_em, {E1000E_MAC}): 1 queue pair; received checksums by the '
              'port (IP, TCP), sent ones by the port (IP, TCP); link up' in said, said)
        check(f'port {VIRTIO} (net_virtio, {OUR_MAC}): 1 queue pair; received checksums by the '
              'stack, sent ones by the stack, segments of up to' in said, said)
        for cable, mac, card in ((CABLES[0], E1000E_MAC, CARDS[0]), (CABLES[1], OUR_MAC, CARDS[1])):
            with case(f'{cable.device}: page, file and echo'):
                both_ways(cable, directory, file_hash)
            with case(f'{cable.device}: pings'):
                pings(cable)
            with case(f'{cable.device}: wrong sums'):
                wrong_sums(cable, mac)
            with case(f'{cable.device}: a link that flaps'):
                link_flap(guest, cable, card)


def offloads(guest, directory, file_hash):
    """Every byte comes whoever computes the sums and cuts the segments; the e1000e's driver cuts none."""
    def received(cable):
        return int(Path(f'/sys/class/net/{cable.device}/statistics/rx_packets').read_text())

    for number, (name, settings) in enumerate(OFFLOADS.items()):
        with case(f'offloads: {name}' + ('' if name in ('all', 'none') else ' switched off')), \
                Server(guest, f'/etc/offloads{number}.toml') as server:
            said = server.wait_serving()
            for sums in ('IP, TCP', 'TCP'):  # virtio leaves those of IPv4 to us
                rx, tx = (f'port ({sums})' if settings[key] == 'port' else 'stack'
                          for key in ('rx_checksum', 'tx_checksum'))
                check(f'received checksums by the {rx}, sent ones by the {tx}' in said, said)
            equal(said.count('cut by the port'), int(settings['tso']), f'ports that cut in:\n{said}')
            for cable in CABLES[:2]:
                before = received(cable)
                both_ways(cable, directory, file_hash)
                came = received(cable) - before  # a segment that nobody needs to cut counts once
                check(settings['tso'] and cable is CABLES[1] or came >= 4 * LENGTH // 1448,
                      f'{cable.device}: only {came} packets')
                check(not settings['tso'] or cable is CABLES[0] or came < 2 * LENGTH // 1448,
                      f'{cable.device}: {came} packets, so none was large')


def tagged(guest, directory, file_hash):
    """In a VLAN, which cards filter by; one has no carrier yet when usherd starts."""
    guest.qmp('set_link', name=CARDS[2], up=False)
    with Server(guest, '/etc/tagged.toml') as server:
        wait_until(lambda: 'link down' in server.said(), 'usherd to start without a link')
        guest.qmp('set_link', name=CARDS[2], up=True)
        said = server.wait_serving()
        check(f'port {TAGGED_VIRTIO} (net_virtio, 02:00:00:00:00:e3): 1 queue pair, receive '
              'interrupts;' in said, said)
        for cable in CABLES[2:]:
            with case(f'{cable.device}: page, file and echo in a VLAN'):
                both_ways(cable, directory, file_hash)
                before = counters(cable)
                pings(cable)
                cut = counters(cable)['UsherSleepsCutShort'] - before['UsherSleepsCutShort']
                check(cut >= 4 or cable is CABLES[2], f'sleeps that a packet ended: {cut}')


def spread(guest, directory, file_hash):
    """Two shards: the card itself sends each flow to the shard that it belongs to."""
    with Server(guest, '/etc/shards.toml') as server:
        check('2 queue pairs, RSS by a table of 128;' in server.wait_serving(), server.said())
        both_ways(CABLES[1], directory, file_hash)
        held = [socket.create_connection((CABLES[1].guest4 if i % 2 else CABLES[1].guest6, 80))
                for i in range(32)]

        def share():
            status = json.loads(curl(CABLES[1].url('/status')))
            return [pool['connections'] for pool in status['pools']], status['counters']
        wait_until(lambda: sum(share()[0]) >= len(held), 'both shards to tell their connections')
        connections, counted = share()
        check(min(connections) >= 4, f'connections by shard: {connections}')
        equal(counted['UsherSteered'], 0, 'segments that came to another shard than their own')
        for s in held:
            s.close()


class Answer(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(PAGE)))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def active_open(guest):
    """usher as the client: each shard chooses ports whose answers the card sends to itself."""
    server = Listener((CABLES[1].host4, 8080), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        said = guest.run(
            f'usher-load --eal "{" ".join(EAL)} --lcores=0@0,1@0,2@1 -a {VIRTIO}" --mode cps '
            f'--connections 8 --seconds 2 --json --address {CABLES[1].guest4}/24 '
            f'--to {CABLES[1].host4}:8080')
    finally:
        server.shutdown()
    result = json.loads(said[said.index('{'):])
    check(result['answers'] > 50, f'answers: {result["answers"]}')
    # An answer that came to another shard would be nobody's there.
    equal([n for n in result['errors'].values() if n != 0], [], f'errors {result["errors"]}')


def test():
    need('curl', 'ping', 'ip')
    cards = make_network()
    file = os.urandom(LENGTH)
    file_hash = hashlib.sha256(file).hexdigest()
    files = {
        '/www/index.html': PAGE, '/www/file.bin': file,
        '/etc/drivers': ''.join(f'{card} {driver}\n' for card, driver in DRIVEN.items()).encode(),
        '/etc/plain.toml': config([CABLES[0].interface(E1000E),
                                   CABLES[1].interface(VIRTIO, mac=OUR_MAC)],
                                  '0@0', 1),
        '/etc/tagged.toml': config([CABLES[2].interface(TAGGED_E1000E, vlan=VLAN),
                                    CABLES[3].interface(TAGGED_VIRTIO, vlan=VLAN)], '0@0', 1),
        **{f'/etc/offloads{number}.toml': config([CABLES[0].interface(E1000E, **settings),
                                                  CABLES[1].interface(VIRTIO, **settings)], '0@0', 1)
           for number, settings in enumerate(OFFLOADS.values())},
        '/etc/shards.toml': config([CABLES[1].interface(VIRTIO)], '0@0,1@0,2@1', 2),
    }
    with tempfile.TemporaryDirectory(prefix='usher-nic-') as name:
        directory = Path(name)
        with Guest(directory, files, cards) as guest:
            print(f'Linux {guest.run("uname -r").strip()}')
            plain(guest, directory, file_hash)
            offloads(guest, directory, file_hash)
            tagged(guest, directory, file_hash)
            with case('two shards by RSS'):
                spread(guest, directory, file_hash)
            with case('active opens by RSS'):
                active_open(guest)


if __name__ == '__main__':
    main(test, before=fetch)
