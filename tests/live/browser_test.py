#!/usr/bin/env python3
"""Chromium loads the front page through usher during a storm of connections, and the page shows
both queues live. Its pictures, wide and narrow, are left in the build directory."""

import base64
import json
import os
import struct

from lab import BUILD, HTTP_LISTENER, PATIENCE_S, Failure, Lab, case, check, main, need, wait_until

# Beside the page's own listener one that nobody serves: its queue fills, and the page must say so.
LISTENERS = [{**HTTP_LISTENER, 'backlog': 64}, {'port': 81, 'service': 'none', 'backlog': 8}]
PICTURES = BUILD / 'browser'
WIDTHS = {'wide': 1400, 'narrow': 390}

# What the page shows now.
LOOK = '''(() => {
  const text = (root, name) => root.querySelector(`[data-f="${name}"]`).textContent;
  const cards = {};
  for (const card of document.querySelectorAll('article.listener'))
    cards[text(card, 'name')] = Object.fromEntries(
      ['half-cap', 'acc', 'acc-cap', 'accepted', 'alarm', 'syn-rate'].map((n) => [n, text(card, n)]));
  const drawn = [...document.querySelectorAll('canvas')].map((canvas) => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return {wide: canvas.getBoundingClientRect().right <= canvas.parentElement.getBoundingClientRect().right + 1,
            inked: pixels.some((p) => p !== 0)};
  });
  return JSON.stringify({health: document.getElementById('health').dataset.state, cards, drawn,
                         polls: performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/status')).length,
                         failures: performance.getEntriesByType('resource').filter((e) => e.responseStatus >= 400).length,
                         overflow: document.documentElement.scrollWidth - innerWidth,
                         height: document.documentElement.scrollHeight});
})()'''


class Browser:
    """Headless Chromium, steered through its debugging pipe."""

    def __init__(self, lab):
        self._to_browser, self._from_browser = os.pipe(), os.pipe()
        self._next_id = 0
        self._pending = b''
        for given, number in ((self._to_browser[0], 203), (self._from_browser[1], 204)):
            os.dup2(given, number)
        # Chromium reads commands on descriptor 3 and answers on 4.
        self.process = lab.spawn(
            'bash', '-c', 'exec 3<&203 4>&204 203<&- 204>&-; exec "$0" "$@"', 'chromium', '--headless',
            '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
            '--disable-background-networking', '--disable-component-update', '--disable-sync',
            '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-pipe',
            f'--user-data-dir={lab.directory / "profile"}', 'about:blank', pass_fds=(203, 204),
            env={'HOME': str(lab.directory), 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})
        for number in (self._to_browser[0], self._from_browser[1], 203, 204):
            os.close(number)
        os.set_blocking(self._from_browser[0], False)
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target,
                                  flatten=True)['sessionId']

    _session = None

    def call(self, method, **parameters):
        self._next_id += 1
        message = {'id': self._next_id, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to_browser[1], json.dumps(message).encode() + b'\0')
        answer = wait_until(self._answer, f"Chromium's answer to {method}")
        check('result' in answer, f'{method}: {answer}')
        return answer['result']

    def _answer(self):
        try:
            block = os.read(self._from_browser[0], 1 << 20)
            check(block, f'Chromium ended:\n{self.process.output()[-3000:]}')
            self._pending += block
        except BlockingIOError:
            pass
        while b'\0' in self._pending:
            message, _, self._pending = self._pending.partition(b'\0')
            message = json.loads(message)
            if message.get('id') == self._next_id:
                return message
        return None

    def evaluate(self, expression):
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        check('exceptionDetails' not in result, f'the page says: {result}')
        return result['result'].get('value')

    def size(self, width, height):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call('Page.captureScreenshot')['data']))

    def close(self):
        self.process.end()
        os.close(self._to_browser[1])
        os.close(self._from_browser[0])


def whole(text):
    try:
        return float(text.replace(',', '').rstrip('KM')) * {'K': 1e3, 'M': 1e6}.get(text[-1:], 1)
    except ValueError:
        return -1


def is_live(seen):
    """What is wrong with the page; empty if it shows both queues as they are."""
    if seen['health'] != 'live' or seen['polls'] < 5:
        return 'not live yet'
    if set(seen['cards']) != {'[::]:80', '[::]:81'}:
        return 'other listeners'
    served, stuck = seen['cards']['[::]:80'], seen['cards']['[::]:81']
    if not (whole(served['accepted']) > 100 and whole(served['syn-rate']) > 0):
        return 'no storm to be seen'
    if not (whole(served['half-cap']) > 0 and whole(served['acc-cap']) == 64):
        return 'wrong limits'
    if whole(stuck['acc']) != 9 or 'Accept queue full' not in stuck['alarm']:
        return 'the stuck queue is not shown as full'
    if not all(canvas['inked'] for canvas in seen['drawn']) or len(seen['drawn']) != 3:
        return 'charts are missing'
    return ''


def show(browser, lab, name, width):
    browser.size(width, 900)
    browser.call('Page.navigate', url=lab.url('/'))
    state = {}

    def live():
        if not browser.evaluate("document.readyState == 'complete'"):
            return False
        state['seen'] = json.loads(browser.evaluate(LOOK))
        state['fault'] = is_live(state['seen'])
        return not state['fault']

    try:
        wait_until(live, 'the page to be live', pause_s=0.5)
    except Failure:
        raise Failure(f'after {PATIENCE_S} s: {state}') from None
    seen = state['seen']
    check(seen['failures'] == 0, f'resources that could not be had: {seen}')
    check(seen['overflow'] <= 0, f'the page is {seen["overflow"]} wider than its window')
    check(all(canvas['wide'] for canvas in seen['drawn']), 'a chart is wider than its card')
    browser.size(width, seen['height'])
    picture = PICTURES / f'{name}.png'
    browser.picture(picture)
    size = struct.unpack('>II', picture.read_bytes()[16:24])
    check(size[0] == width and size[1] >= 2000, f'picture of {size}')
    print(f'  {picture}; seen: {seen["cards"]}')


def test():
    need('chromium', 'wrk')
    PICTURES.mkdir(exist_ok=True)
    with Lab('tap', listeners=LISTENERS) as lab:
        before = lab.baseline()
        storm = lab.spawn('wrk', '-t1', '-c100', '-d', '3600', '-H', 'Connection: close',
                          lab.url('/bytes/512'))
        stuck = lab.spawn('wrk', '-t1', '-c30', '-d', '3600', lab.url('/', port=81))
        browser = Browser(lab)
        try:
            for name, width in WIDTHS.items():
                with case(f'the page shows both queues during a storm, {name}'):
                    show(browser, lab, name, width)
            with case('the storm met no error'):
                check(storm.popen.poll() is None, f'wrk ended: {storm.output()}')
        finally:
            browser.close()
        for child in (storm, stuck):
            child.end()
        # What waits on the port that nobody serves stays there.
        with case('the server goes on'):
            wait_until(lambda: lab.status()['pools'][0]['connections'] <=
                       before['pools'][0]['connections'] + 9, 'the connections to be gone')


main(test)
