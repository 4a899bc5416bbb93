#!/usr/bin/env python3
"""An undisturbed run leaves nothing to explain: neither in the kernel's counters nor on the wire.

A stall of a loaded machine is no fault of either side: loss probes are off here and retransmission
timers long, on both, and a capture that lost frames is taken anew.
"""

import signal

from lab import (SERVER4, SERVER6, Failure, Lab, case, check, equal, main, need, sysctl, tool,
                 wait_until)

# What must not have moved in the client's namespace. (TcpOutRsts counts what curl and ab do not
# do: closing with unread data.)
CLEAN = ['TcpRetransSegs', 'TcpInErrs', 'TcpInCsumErrors', 'TcpAttemptFails', 'TcpEstabResets',
         'TcpOutRsts', 'TcpExtTCPTimeouts', 'TcpExtTCPLostRetransmit', 'TcpExtTCPFastRetrans',
         'TcpExtTCPLossProbes', 'TcpExtTCPSynRetrans', 'TcpExtTCPAbortOnData',
         'TcpExtTCPAbortOnClose', 'TcpExtTCPAbortOnTimeout', 'TcpExtTCPOFOQueue',
         'TcpExtTCPDSACKRecv', 'TcpExtTCPDSACKOfoRecv', 'TcpExtTCPDSACKOldSent',
         'TcpExtTCPDSACKOfoSent', 'TcpExtTCPChallengeACK', 'TcpExtTCPSYNChallenge',
         'TcpExtPAWSEstab', 'TcpExtTCPACKSkippedSeq', 'TcpExtTCPACKSkippedPAWS',
         'TcpExtBeyondWindow', 'TcpExtTCPSACKReneging', 'TcpExtTCPSACKDiscard',
         'IpInHdrErrors', 'IpInAddrErrors', 'IpInDiscards',
         'IpExtInCsumErrors', 'Ip6InHdrErrors', 'Ip6InAddrErrors', 'Ip6InDiscards',
         'IcmpInErrors', 'IcmpInCsumErrors', 'Icmp6InErrors', 'Icmp6InCsumErrors']
# The same, of usher.
CLEAN_SERVER = ['TcpRetransSegs', 'TcpInErrs', 'TcpInCsumErrors', 'TcpEstabResets', 'TcpOutRsts',
                'TcpExtTCPTimeouts', 'TcpExtListenDrops', 'TcpExtTCPReqQFullDrop']
# All that Wireshark flags but flow control, which is as it should be: a closed or filled window and
# its probes say that a client does not read as fast as it could. And wrong sums.
BAD = ('(tcp.analysis.flags && !tcp.analysis.window_update && !tcp.analysis.window_full && '
       '!tcp.analysis.zero_window && !tcp.analysis.keep_alive && !tcp.analysis.keep_alive_ack) || '
       'tcp.checksum.status == "Bad" || ip.checksum.status == "Bad" || '
       'icmpv6.checksum.status == "Bad" || _ws.malformed')
OURS = f'(ip.src == {SERVER4} || ipv6.src == {SERVER6})'


def nstat(lab):
    said = lab.run('nstat', '-asz').stdout
    rows = [line.split() for line in said.splitlines() if not line.startswith('#')]
    return {row[0]: int(row[1]) for row in rows}


def traffic(lab, version):
    for size in (0, 1, 1000, 100_000, 4_000_000):
        lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url(f'/bytes/{size}', version))
    lab.up_and_back(version, 4_000_000)
    lab.echo(version, 4_000_000)
    lab.run('ab', '-q', '-n', 200, '-c', 4, '-s', 300, lab.url('/bytes/3000', version))
    lab.run('ab', '-q', '-k', '-n', 200, '-c', 4, '-s', 300, lab.url('/bytes/3000', version))


def captured(lab, version):
    """The capture of one run of traffic, or None if tcpdump missed frames."""
    file = lab.directory / f'v{version}.pcap'
    file.unlink(missing_ok=True)
    dump = lab.spawn('tcpdump', '-i', lab.device, '-w', file, '-B', 65536, '-s', 0, '-U', 'tcp',
                     'or', 'icmp', 'or', 'icmp6', 'or', 'arp')
    wait_until(lambda: 'listening on' in dump.output() or dump.popen.poll() is not None, 'tcpdump')
    traffic(lab, version)
    equal(dump.end(signal.SIGINT), 0, f'exit code of tcpdump: {dump.output()}')
    return file if '\n0 packets dropped by kernel' in dump.output() else None


def wireshark_agrees(lab, version):
    for _ in range(5):
        if file := captured(lab, version):
            break
    else:
        raise Failure('tcpdump lost frames five times')
    sums = ['-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE']
    frames = lab.run('tshark', '-n', *sums, '-r', file, '-Y', f'tcp && {OURS}', '-T', 'fields',
                     '-e', 'frame.number', '-e', 'tcp.checksum.status', text=True,
                     env={'HOME': str(lab.directory), 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'},
                     stderr=-3).stdout.split('\n')
    checked = [line for line in frames if line.endswith('\t1')]
    check(len(checked) > 1000, f'tshark verified {len(checked)} checksums of ours')
    said = lab.run('tshark', '-n', *sums, '-r', file, '-Y', f'{OURS} && ({BAD})',
                   env={'HOME': str(lab.directory), 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'},
                   stderr=-3).stdout
    equal(said.strip()[:3000], '', 'what tshark finds fault with')


def test():
    need('tshark', 'tcpdump', 'nstat', 'ab', 'socat', 'curl')
    for kind in ('tap', 'af_packet'):
        with Lab(kind, settings={'net.ipv4.tcp_early_retrans': 0,
                                 'net.ipv4.tcp_rto_min_us': 60_000_000}) as lab:
            sysctl('net.ipv4.tcp_early_retrans', 0)
            for version, net in (('-4', '198.18.0.0/15'), ('-6', '2001:2::/48')):
                tool('ip', version, 'route', 'change', net, 'dev', lab.device, 'proto', 'kernel',
                     *(['src', '198.18.0.1'] if version == '-4' else ['metric', '256']),
                     'rto_min', '60s')
            before = nstat(lab)
            server_before = lab.counters()
            for version in (4, 6):
                with case(f'{kind}, IPv{version}: Wireshark finds nothing on our side'):
                    wireshark_agrees(lab, version)
            with case(f'{kind}: the kernel counted nothing bad'):
                after = nstat(lab)
                moved = {name: after[name] - before.get(name, 0) for name in CLEAN
                         if name in after and after[name] != before.get(name, 0)}
                equal(moved, {}, 'counters that moved')
                check(after['TcpActiveOpens'] > before['TcpActiveOpens'] + 400, 'too few connections')
            with case(f'{kind}: neither did usher'):
                after = lab.counters()
                moved = {name: after[name] - server_before.get(name, 0) for name in CLEAN_SERVER
                         if after.get(name, 0) != server_before.get(name, 0)}
                equal(moved, {}, 'counters that moved')


main(test)
