// The live part of the front page: asks /status once a second and draws what it says.
'use strict';

(() => {
  const POLL_MS = 1000;
  const PATIENCE_MS = 4000;
  const HISTORY = 121;
  const SLOTS = 24;

  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat('en');
  const compact = new Intl.NumberFormat('en', {notation: 'compact', maximumFractionDigits: 1});
  const known = (n) => typeof n === 'number' && Number.isFinite(n);
  const number = (n) => (!known(n) ? '–' : Math.abs(n) < 1e6 ? whole.format(n) : compact.format(n));
  const perSecond = (n) => (!known(n) ? '–' : n === 0 || n >= 10 ? number(Math.round(n)) : n.toFixed(1));

  function duration(s) {
    if (!known(s)) return '–';
    const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
    const at = Math.max(0, units.findIndex(([, size]) => s >= size));
    if (s < 60) return `${Math.floor(s)} s`;
    const [unit, size] = units[at];
    const [small, part] = units[at + 1];
    return `${Math.floor(s / size)} ${unit} ${Math.floor((s % size) / part)} ${small}`;
  }

  function element(tag, text, className) {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    if (className) e.className = className;
    return e;
  }

  // ---- Rates: the change of a counter between two answers ----

  const last = new Map();  // key -> {value, at}
  function rate(key, value, at) {
    if (!known(value)) return undefined;
    const before = last.get(key);
    last.set(key, {value, at});
    // A counter that went back belongs to a server that was started again.
    if (!before || at <= before.at || value < before.value) return undefined;
    return (value - before.value) / (at - before.at);
  }

  // ---- A listener's card ----

  const SVG = 'http://www.w3.org/2000/svg';
  // A row of slots; `parts` are [share of the row, class] from the left.
  function drawMeter(box, parts, isFull) {
    let svg = box.firstChild;
    if (!svg) {
      svg = document.createElementNS(SVG, 'svg');
      svg.setAttribute('viewBox', `0 0 ${SLOTS * 10} 20`);
      svg.setAttribute('preserveAspectRatio', 'none');
      svg.setAttribute('aria-hidden', 'true');
      box.append(svg);
    }
    svg.replaceChildren();
    svg.classList.toggle('full', isFull);
    const rect = (x, width, className) => {
      const r = document.createElementNS(SVG, 'rect');
      r.setAttribute('x', x); r.setAttribute('y', 0);
      r.setAttribute('width', width); r.setAttribute('height', 20);
      r.setAttribute('rx', 1.5); r.setAttribute('class', className);
      svg.append(r);
    };
    for (let i = 0; i < SLOTS; ++i) rect(i * 10 + 1, 8, 'slot');
    let from = 0;
    for (const [share, className] of parts) {
      // Whatever is there at all must be seen.
      const to = Math.min(SLOTS, share > 0 ? Math.max(from + share * SLOTS, from + 0.25) : from);
      for (let i = Math.floor(from); i < to; ++i) {
        const left = Math.max(from - i, 0) * 8;
        const right = Math.min(to - i, 1) * 8;
        if (right > left) rect(i * 10 + 1 + left, right - left, className);
      }
      from = to;
    }
  }

  const share = (n, of) => (known(n) && of > 0 ? Math.min(1, n / of) : 0);
  const listenerName = (l) => `${String(l.address).includes(':') ? `[${l.address}]` : l.address}:${l.port}`;

  const cards = new Map();
  function card(key) {
    let c = cards.get(key);
    if (!c) {
      const root = byId('listener-template').content.firstElementChild.cloneNode(true);
      const field = {};
      for (const e of root.querySelectorAll('[data-f]')) field[e.dataset.f] = e;
      c = {root, field};
      cards.set(key, c);
      byId('listeners').append(root);
    }
    return c;
  }

  function figures(list, rows) {
    list.replaceChildren(...rows.filter(([, value]) => known(value)).map(([name, value, r, hot]) => {
      const row = element('div', undefined, hot && r > 0 ? 'hot' : '');
      const dd = element('dd', number(value));
      if (r > 0) dd.append(element('small', `  +${perSecond(r)}/s`));
      row.append(element('dt', name), dd);
      return row;
    }));
  }

  function drawListener(l, at) {
    const key = listenerName(l);
    const {root, field} = card(key);
    const r = (name) => rate(`${key} ${name}`, l[name], at);
    const rates = {};
    for (const name of ['accepted', 'completed', 'cookies_sent', 'cookies_received', 'cookies_failed',
                        'listen_overflows', 'listen_drops']) rates[name] = r(name);
    const halfFull = l.half_open_capacity > 0 && l.half_open >= l.half_open_capacity;
    // The bsd model counts both queues together against one and a half times the limit.
    const acceptFull = l.model === 'bsd' ? l.half_open + l.accept_queue > 1.5 * l.accept_queue_limit
        : l.accept_queue > l.accept_queue_limit;
    const young = known(l.young) ? Math.min(l.young, l.half_open) : l.half_open;

    field.name.textContent = key;
    field.service.textContent = l.service || '';
    field.model.textContent = l.model || '';
    field.limits.textContent = known(l.backlog) ? `backlog ${number(l.backlog)}${l.limited_by ? `, limited by ${l.limited_by}` : ''}` : '';
    field.alarm.hidden = !halfFull && !acceptFull;
    field.alarm.textContent = acceptFull ? 'Accept queue full: no handshake can be completed'
        : rates.cookies_sent > 0 ? 'SYN queue full: new SYNs are answered with cookies' : 'SYN queue full';

    field['syn-rate'].textContent = perSecond(known(rates.completed) ? rates.completed : rates.accepted);
    field.half.textContent = number(l.half_open);
    field['half-cap'].textContent = number(l.half_open_capacity);
    field['half-note'].textContent = l.half_open > 0 ? `${number(young)} young, ${number(l.half_open - young)} resent` : 'nobody half-open';
    field.acc.textContent = number(l.accept_queue);
    field['acc-cap'].textContent = number(l.accept_queue_limit);
    field['acc-note'].textContent = l.accept_queue > 0 ? 'waiting for accept()' : 'nobody waiting';
    field.accepted.textContent = number(l.accepted);
    field['accepted-rate'].textContent = known(rates.accepted) ? `${perSecond(rates.accepted)} / s` : '';

    drawMeter(field['half-meter'], [[share(young, l.half_open_capacity), 'fill-young'],
                                    [share(l.half_open - young, l.half_open_capacity), 'fill-old']], halfFull);
    // One more than the limit fits.
    drawMeter(field['acc-meter'], [[share(l.accept_queue, l.accept_queue_limit + 1), 'fill-ready']], acceptFull);
    for (const [meter, label, now, max] of [['half-meter', 'SYN queue', l.half_open, l.half_open_capacity],
                                            ['acc-meter', 'Accept queue', l.accept_queue, l.accept_queue_limit]]) {
      field[meter].setAttribute('aria-label', `${label} of ${key}`);
      field[meter].setAttribute('aria-valuenow', Math.min(now || 0, max || 0));
      field[meter].setAttribute('aria-valuemax', max || 0);
      field[meter].setAttribute('aria-valuetext', `${number(now)} of ${number(max)}`);
    }
    root.querySelector('.half').classList.toggle('is-full', halfFull);
    root.querySelector('.ready').classList.toggle('is-full', acceptFull);
    const moving = rates.accepted > 0 || rates.completed > 0;
    field['pipe-syn'].className = `pipe${acceptFull ? ' shut' : moving || l.half_open > 0 || rates.cookies_sent > 0 ? ' on' : ''}`;
    field['pipe-ack'].className = `pipe${acceptFull ? ' shut' : moving ? ' on' : ''}`;
    field['pipe-accept'].className = `pipe${rates.accepted > 0 ? ' on' : ''}`;
    figures(field.figures, [
      ['Completed handshakes', l.completed, rates.completed],
      ['Cookies sent', l.cookies_sent, rates.cookies_sent],
      ['Cookies that came back', l.cookies_received, rates.cookies_received],
      ['Cookies that failed', l.cookies_failed, rates.cookies_failed],
      ['Queue overflows', l.listen_overflows, rates.listen_overflows, true],
      ['SYNs and ACKs dropped', l.listen_drops, rates.listen_drops, true],
    ]);
    return {rates, half: l.half_open || 0, accept: l.accept_queue || 0};
  }

  // ---- Tables ----

  // A long name may be broken after an underscore or where a capital begins a word.
  function nameCell(text) {
    const cell = element('td');
    for (const part of text.split(/(?<=_)|(?<=[a-z])(?=[A-Z])/)) cell.append(part, element('wbr'));
    return cell;
  }

  function fill(id, rows, columns, emptyText) {
    const body = byId(id);
    if (rows.length === 0) {
      const cell = element('td', emptyText, 'empty');
      cell.colSpan = columns;
      const row = element('tr');
      row.append(cell);
      body.replaceChildren(row);
      return;
    }
    body.replaceChildren(...rows.map((cells) => {
      const row = element('tr');
      row.append(...cells.map((c) => (typeof c === 'object' ? element('td', c.num, 'num') : nameCell(String(c)))));
      return row;
    }));
  }

  function drawTables(status, at) {
    const drops = (status.drops || []).map((d) => ({...d, r: rate(`drop ${d.listener} ${d.shard} ${d.reason}`, d.count, at)}))
        .filter((d) => d.count > 0).sort((a, b) => (b.r || 0) - (a.r || 0) || b.count - a.count);
    fill('drop-rows', drops.slice(0, 200).map((d) => [d.listener, d.shard, d.reason, {num: number(d.count)}, {num: perSecond(d.r)}]),
         5, 'Nothing was refused.');
    const states = Object.entries(status.connections || {}).filter(([, n]) => known(n));
    fill('state-rows', states.map(([name, n]) => [name.toUpperCase().replaceAll('_', '-'), {num: number(n)}]), 2, 'no connections');
    const counters = Object.entries(status.counters || {}).filter(([, n]) => known(n))
        .map(([name, n]) => [name, n, rate(`counter ${name}`, n, at)]).filter(([, n]) => n !== 0);
    fill('counter-rows', counters.map(([name, n, r]) => [name, {num: number(n)}, {num: perSecond(r)}]), 3, 'all zero');
  }

  // ---- Charts ----

  const series = {half: [], accept: [], accepted: [], cookies: [], overflows: [], drops: []};
  const times = [];
  const charts = [];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // Labels every half minute; the rest of the axis stays bare.
  const tick = (ago) => (ago === 0 ? 'now' : ago % 30 === 0 ? `${ago} s ago` : null);

  function makeChart(id, lines) {
    return new window.Chart(byId(id), {
      type: 'line',
      data: {labels: times, datasets: lines.map(([label, key, variable]) => ({label, data: series[key], variable}))},
      options: {
        animation: false, responsive: true, maintainAspectRatio: false,
        interaction: {mode: 'index', intersect: false},
        elements: {point: {radius: 0, hitRadius: 8}, line: {borderWidth: 2, tension: 0.25}},
        scales: {
          x: {ticks: {autoSkip: false, maxRotation: 0, callback: (v) => tick(HISTORY - 1 - v)}, grid: {display: false}},
          y: {beginAtZero: true, suggestedMax: 4, ticks: {maxTicksLimit: 5, precision: 0, callback: (v) => compact.format(v)}},
        },
        plugins: {
          legend: {position: 'bottom', align: 'start', labels: {boxWidth: 12, boxHeight: 3, padding: 14}},
          tooltip: {callbacks: {title: () => '', label: (c) => `${c.dataset.label}: ${perSecond(c.parsed.y)}`}},
        },
      },
    });
  }

  function paintCharts() {
    for (const chart of charts) {
      for (const d of chart.data.datasets) {
        d.borderColor = colour(d.variable);
        d.backgroundColor = d.borderColor;
      }
      const {x, y} = chart.options.scales;
      x.ticks.color = y.ticks.color = chart.options.plugins.legend.labels.color = colour('--soft');
      y.grid = {color: colour('--line'), drawBorder: false};
      chart.update('none');
    }
  }

  function startCharts() {
    for (let i = 0; i < HISTORY; ++i) times.push(i);
    for (const data of Object.values(series)) data.push(...new Array(HISTORY).fill(null));
    if (!window.Chart) {
      byId('charts').replaceChildren(element('p', 'The chart library was not found on this server (Debian package libjs-chart.js); all figures are above and below.', 'note'));
      return;
    }
    window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    charts.push(
        makeChart('chart-queues', [['SYN queue', 'half', '--young'], ['Accept queue', 'accept', '--ready']]),
        makeChart('chart-rates', [['accepted', 'accepted', '--app'], ['cookies sent', 'cookies', '--young']]),
        makeChart('chart-drops', [['queue overflows', 'overflows', '--bad'], ['SYNs and ACKs dropped', 'drops', '--half']]));
    paintCharts();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paintCharts);
  }

  function push(point) {
    for (const [key, data] of Object.entries(series)) {
      data.push(known(point[key]) ? point[key] : null);
      data.shift();
    }
    for (const chart of charts) chart.update('none');
  }

  // ---- The loop ----

  const sum = (values) => values.reduce((a, b) => (known(b) ? (known(a) ? a : 0) + b : a), undefined);

  function draw(status, at) {
    const seen = new Set((status.listeners || []).map(listenerName));
    for (const [key, c] of cards) {
      if (!seen.has(key)) { c.root.remove(); cards.delete(key); }
    }
    const note = byId('listeners-note');
    note.hidden = seen.size > 0;
    note.textContent = 'This server has no listener.';
    const drawn = (status.listeners || []).map((l) => drawListener(l, at));
    const acceptRate = sum(drawn.map((d) => d.rates.accepted));
    byId('version').textContent = status.version || '–';
    byId('uptime').textContent = duration(status.uptime_s);
    byId('established').textContent = number(status.connections && status.connections.established);
    byId('accepted').textContent = number(sum((status.listeners || []).map((l) => l.accepted)));
    byId('accept-rate').textContent = perSecond(acceptRate);
    drawTables(status, at);
    push({
      half: sum(drawn.map((d) => d.half)), accept: sum(drawn.map((d) => d.accept)), accepted: acceptRate,
      cookies: sum(drawn.map((d) => d.rates.cookies_sent)), overflows: sum(drawn.map((d) => d.rates.listen_overflows)),
      drops: sum(drawn.map((d) => d.rates.listen_drops)),
    });
  }

  let lastAnswer = null;
  function showHealth(state, text) {
    const health = byId('health');
    // Only a change is worth telling a screen reader.
    if (health.dataset.state !== state) health.dataset.state = state;
    if (byId('health-text').textContent !== text) byId('health-text').textContent = text;
    for (const id of ['listeners', 'charts']) byId(id).classList.toggle('stale', state === 'lost');
  }

  async function poll() {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), PATIENCE_MS);
    try {
      const response = await fetch('/status', {cache: 'no-store', signal: abort.signal});
      if (!response.ok) throw new Error(`answered ${response.status}`);
      const status = await response.json();
      const at = known(status.uptime_s) ? status.uptime_s : performance.now() / 1000;
      lastAnswer = new Date();
      showHealth('live', 'live');
      draw(status, at);
    } catch (error) {
      push({});
      showHealth('lost', lastAnswer ? `no answer since ${lastAnswer.toLocaleTimeString()}` : 'no answer yet');
    } finally {
      clearTimeout(timer);
    }
  }

  async function loop() {
    const started = performance.now();
    // A page that nobody sees asks nothing.
    if (!document.hidden) await poll();
    setTimeout(loop, Math.max(100, POLL_MS - (performance.now() - started)));
  }

  startCharts();
  loop();
})();
