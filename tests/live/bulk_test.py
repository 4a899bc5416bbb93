#!/usr/bin/env python3
"""Bulk data through nc and socat: echo, discard and chargen, whole to the last byte, with the
client closing its half first."""

import hashlib
import socket

from lab import (CHARGEN, CHUNK, DISCARD, ECHO, HTTP, SERVER4, SERVER6, Lab, case, check, equal,
                 main, need, random_file)

LENGTH = 24 << 20


def address(version):
    return SERVER4 if version == 4 else SERVER6


def echo_through_socat(lab, version):
    lab.echo(version, LENGTH)


def echo_through_nc(lab, version):
    lab.echo(version, LENGTH, 'nc', '-N', address(version), ECHO)


def discard(lab, version):
    """Ends when the server, having read everything and our FIN, closes too."""
    up = lab.directory / 'up'
    random_file(up, LENGTH)
    with open(up, 'rb') as source:
        said = lab.run('nc', '-N', address(version), DISCARD, stdin=source, text=False).stdout
    equal(said, b'', 'what the discard service sent')


def chargen(lab, version):
    """Lines of 72 printable characters, each shifted by one against the line before."""
    with socket.create_connection((address(version), CHARGEN), timeout=300) as s:
        stream = s.makefile('rb')
        line = stream.readline()
        for _ in range(100_000):
            check(len(line) == 74 and line.endswith(b'\r\n') and
                  all(32 <= c <= 126 for c in line[:72]), f'not a line of chargen: {line}')
            following = stream.readline()
            equal(following[:71], line[1:72], 'the line after')
            line = following


def half_close(_, version):
    """A request whose sender closes its half at once is answered all the same."""
    with socket.create_connection((address(version), HTTP), timeout=300) as s:
        s.sendall(b'GET /bytes/3000000 HTTP/1.1\r\nHost: usher\r\n\r\n')
        s.shutdown(socket.SHUT_WR)
        got = bytearray()
        while block := s.recv(CHUNK):
            got += block
    head, _, body = bytes(got).partition(b'\r\n\r\n')
    check(b' 200 ' in head.splitlines()[0], f'head: {head}')
    equal(len(body), 3_000_000, 'bytes of the body')
    digest = hashlib.sha256(bytes(i % 251 for i in range(3_000_000)))
    equal(hashlib.sha256(body).hexdigest(), digest.hexdigest(), 'SHA-256 of the body')


def half_close_without_a_word(_, version):
    """A client that says nothing and closes its half gets the end of the stream."""
    with socket.create_connection((address(version), ECHO), timeout=300) as s:
        s.shutdown(socket.SHUT_WR)
        equal(s.recv(1), b'', 'what came back')


def test():
    need('socat', 'nc')
    for kind in ('tap', 'af_packet'):
        with Lab(kind) as lab:
            before = lab.baseline()
            for version in (4, 6):
                for step in (echo_through_socat, echo_through_nc, discard, chargen, half_close,
                             half_close_without_a_word):
                    with case(f'{kind}, IPv{version}: {step.__name__.replace("_", " ")}'):
                        step(lab, version)
            with case(f'{kind}: everything is given back'):
                lab.back_to(before)


main(test)
