#!/usr/bin/env python3
"""Installs the headers an embedder can reach, and no others; run by meson install.

usage: install_headers.py DIRECTORY    relative to the prefix, or absolute
"""

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENTRY = 'stack/glue/include/usher/usher.h'
# Where embedders may start beside usher.h.
ROOTS = [ENTRY, 'stack/port/memory_port.h']


def reachable(roots):
    """The headers of the tree that `roots` include, themselves included."""
    found = []
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        text = (ROOT / name).read_text(encoding='utf-8')
        waiting += re.findall(r'#include "(stack/[^"]+)"', text)
    return sorted(found)


def main():
    destination = Path(sys.argv[1])
    prefix = Path(os.environ['MESON_INSTALL_DESTDIR_PREFIX'])
    if destination.is_absolute():
        destination = Path(os.environ.get('DESTDIR', '/')) / destination.relative_to('/')
    else:
        destination = prefix / destination
    for name in reachable(ROOTS):
        target = destination / ('usher.h' if name == ENTRY else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return 0


if __name__ == '__main__':
    sys.exit(main())
