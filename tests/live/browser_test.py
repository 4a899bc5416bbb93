#!/usr/bin/env python3
"""Chromium loads the front page through usher during a storm of connections, and the page shows
both queues live. Its pictures, wide and narrow, are left in the build directory."""

import re

from lab import BUILD, HTTP_LISTENER, Lab, case, check, main, need

# Beside the page's own listener one that nobody serves: its queue fills, and the page must say so.
LISTENERS = [{**HTTP_LISTENER, 'backlog': 64}, {'port': 81, 'service': 'none', 'backlog': 8}]
PICTURES = BUILD / 'browser'
SIZES = {'wide': '1400,3000', 'narrow': '390,5400'}


def chromium(lab, *arguments):
    profile = lab.directory / 'profile'
    return lab.run('chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
                   '--no-first-run', '--disable-background-networking',
                   '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
                   '--hide-scrollbars', f'--user-data-dir={profile}',
                   # Time goes on only while nothing is under way: the page has polled many times
                   # by its end, however slow the machine.
                   '--virtual-time-budget=20000', *arguments, lab.url('/'),
                   stderr=-3, env={'HOME': str(lab.directory), 'PATH': '/usr/bin:/bin'}).stdout


def field(card, name):
    found = re.search(rf'data-f="{name}"[^>]*>([^<]*)<', card)
    check(found, f'no field {name} in the card {card}')
    return found[1]


def whole(text):
    check(re.fullmatch(r'[\d,.]+[KM]?', text), f'{text!r} is no number')
    return float(text.replace(',', '').rstrip('KM')) * {'K': 1e3, 'M': 1e6}.get(text[-1], 1)


def page_is_live(page):
    check(re.search(r'id="health"[^>]*data-state="live"', page), 'the page is not live')
    page = re.sub('<template.*?</template>', '', page, flags=re.DOTALL)
    cards = {field(card, 'name'): card for card in
             re.findall('<article class="card listener.*?</article>', page, re.DOTALL)}
    check(set(cards) == {'[::]:80', '[::]:81'}, f'listeners: {sorted(cards)}')
    served, stuck = cards['[::]:80'], cards['[::]:81']
    check(whole(field(served, 'accepted')) > 0, 'nothing accepted')
    check(whole(field(served, 'half-cap')) > 0 and whole(field(served, 'acc-cap')) == 64,
          'limits of the queues')
    check(whole(field(stuck, 'acc')) == 9, f'the stuck queue holds {field(stuck, "acc")}, not 9')
    check('Accept queue full' in field(stuck, 'alarm'), 'no alarm for the full queue')


def test():
    need('chromium', 'wrk')
    PICTURES.mkdir(exist_ok=True)
    with Lab('tap', listeners=LISTENERS) as lab:
        before = lab.baseline()
        storm = lab.spawn('wrk', '-t1', '-c100', '-d', '3600', '-H', 'Connection: close',
                          lab.url('/bytes/512'))
        stuck = lab.spawn('wrk', '-t1', '-c30', '-d', '3600', lab.url('/', port=81))
        with case('the page shows both queues during a storm'):
            page_is_live(chromium(lab, '--dump-dom'))
        for name, size in SIZES.items():
            with case(f'a picture, {name}'):
                picture = PICTURES / f'{name}.png'
                picture.unlink(missing_ok=True)
                chromium(lab, f'--window-size={size}', f'--screenshot={picture}')
                check(picture.exists() and picture.stat().st_size > 50_000, 'no picture')
                print(f'  {picture}')
        with case('the storm met no error'):
            check(storm.popen.poll() is None, f'wrk ended: {storm.output()}')
            lab.run('curl', '-sS', '--fail', '-o', '/dev/null', lab.url('/'))
        for child in (storm, stuck):
            child.end()
        del before


main(test)
