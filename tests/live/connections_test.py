#!/usr/bin/env python3
"""10,000 connections opened at once by the kernel, all held, a request on each, all closed."""

import resource
import select
import socket
import time

from lab import (CLIENT4, HTTP, PATIENCE_S, SERVER4, SERVER6, Lab, case, check, equal, main,
                 pattern, tool, wait_until)

COUNT = 10_000
REQUEST = b'GET /bytes/100 HTTP/1.1\r\nHost: usher\r\n\r\n'
BODY = pattern(100)


class Swarm:
    """Non-blocking connections, served by epoll."""

    def __init__(self):
        self.poll = select.epoll()
        self.sockets = {}

    def open(self, family, source, target):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setblocking(False)
        s.bind((source, 0))
        self.sockets[s.fileno()] = s
        self.poll.register(s, 0)
        s.connect_ex((target, HTTP))

    def each(self, events, step, what):
        """Calls step(socket) on every socket that has an event, until it has been true for all."""
        left = set(self.sockets)
        for fd in left:
            self.poll.modify(fd, events)
        deadline = time.monotonic() + PATIENCE_S
        while left:
            check(time.monotonic() < deadline, f'{what}: {len(left)} of {len(self.sockets)} wait')
            for fd, _ in self.poll.poll(1):
                error = self.sockets[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                check(error == 0, f'{what}: errno {error} on a connection')
                if fd in left and step(self.sockets[fd]):
                    left.discard(fd)
                    self.poll.modify(fd, 0)

    def close(self):
        for s in self.sockets.values():
            s.close()
        self.poll.close()


def ask_and_read(swarm):
    swarm.each(select.EPOLLOUT, lambda s: s.send(REQUEST) == len(REQUEST), 'request')
    answers = {}

    def read(s):
        block = s.recv(65536)
        check(block, 'the server closed a connection')
        answers[s] = answers.get(s, b'') + block
        head, found, body = answers[s].partition(b'\r\n\r\n')
        if not found or len(body) < len(BODY):
            return False
        check(head.startswith(b'HTTP/1.1 200 ') and body == BODY, f'answer: {answers[s]}')
        return True

    swarm.each(select.EPOLLIN, read, 'answer')


def test():
    resource.setrlimit(resource.RLIMIT_NOFILE, (COUNT + 1000, COUNT + 1000))
    with Lab('tap') as lab:
        sources = [CLIENT4, '198.18.1.1', '198.18.1.2', '198.18.1.3']
        for source in sources[1:]:
            tool('ip', 'addr', 'add', f'{source}/15', 'dev', lab.device)
        before = lab.baseline()
        swarm = Swarm()
        try:
            with case(f'{COUNT} connections open at once'):
                for i in range(COUNT):
                    if i % 5 == 4:
                        swarm.open(socket.AF_INET6, '2001:2::1', SERVER6)
                    else:
                        swarm.open(socket.AF_INET, sources[i % len(sources)], SERVER4)
                swarm.each(select.EPOLLOUT, lambda s: True, 'handshake')
            with case('each is served'):
                ask_and_read(swarm)
            with case('the server has them all'):
                wait_until(lambda: lab.status()['connections']['established'] >= COUNT,
                           f'{COUNT} established connections')
            with case('each is served again'):
                ask_and_read(swarm)
        finally:
            swarm.close()
        with case('everything is given back'):
            lab.back_to(before)
        with case('the next one is served'):
            equal(lab.run('curl', '-sS', lab.url('/bytes/5')).stdout, pattern(5).decode(), 'body')


main(test)
