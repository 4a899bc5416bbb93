#!/usr/bin/env python3
"""Draws results.json as results.svg: one panel of bars for each thing measured.

usage: plot.py RESULTS.json > RESULTS.svg
"""

import json
import sys
from html import escape

WIDTH, LEFT, BAR, GAP, TITLE = 760, 250, 22, 8, 34
COLOURS = {'usherd': '#2f6f9f', 'nginx, kernel': '#b0793a'}
OTHER = '#8a8f98'


def amount(value, unit):
    if unit == 'bits per second':
        return f'{value / 1e9:.1f} Gbit/s'
    if unit == 'cycles':
        return f'{value:,.0f} cycles'
    return f'{value / 1e3:,.1f} k/s' if value < 1e6 else f'{value / 1e6:,.2f} M/s'


def panels(rows):
    """Rows by what they measure; those in cycles are one panel."""
    found = {}
    for row in rows:
        title = 'cycles in the stack alone' if row['unit'] == 'cycles' else row['what']
        found.setdefault(title, []).append(row)
    return found


def svg(results):
    parts, y = [], 30
    machine = results['machine']
    parts.append(f'<text x="16" y="{y}" font-size="15" font-weight="bold">usher-load on one core, the server '
                 'on the other</text>')
    y += 20
    note = (f'{machine["date"]}, {machine["model"]}, {machine["cores"]} cores, load {machine["load"]:.1f}; '
            f'median of {results["runs"]} runs of {results["seconds"]:g} s')
    parts.append(f'<text x="16" y="{y}" fill="#555">{escape(note)}</text>')
    for title, rows in panels(results['rows']).items():
        y += TITLE
        parts.append(f'<text x="16" y="{y}" font-weight="bold">{escape(title)}</text>')
        y += 10
        most = max(row.get('most', row['median']) for row in rows)
        for row in rows:
            label = row['what'] if row['unit'] == 'cycles' else f'{row["server"]}, {row["link"]}'
            scale = (WIDTH - LEFT - 130) / most
            length = max(1, row['median'] * scale)
            colour = COLOURS.get(row['server'], OTHER)
            middle = y + BAR / 2
            parts.append(f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
            end = length
            if 'least' in row:
                low, end = row['least'] * scale, row['most'] * scale
                parts.append(f'<path d="M{LEFT + low:.1f} {middle}H{LEFT + end:.1f}" stroke="#222"/>')
            text = amount(row['median'], row['unit'])
            parts.append(f'<text x="{LEFT + max(length, end) + 6:.1f}" y="{middle + 4}">{escape(text)}</text>')
            y += BAR + GAP
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 16}" '
            f'viewBox="0 0 {WIDTH} {y + 16}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="#fff"/>')
    return '\n'.join([head, *parts, '</svg>']) + '\n'


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding='utf-8') as file:
        sys.stdout.write(svg(json.load(file)))
