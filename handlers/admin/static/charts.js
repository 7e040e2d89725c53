// Small drawings. Each is an image with a sentence for those who don't see it; the
// figures also stand beside it as text.
import { el, svg } from './dom.js';
import { clock, t } from './words.js';

const height = 132;
const below = 20; // for the times
const beside = 6;

// nice is a round number that is not smaller.
function nice(n) {
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].find((step) => step * power >= n) * power;
}

// Line is figures over time. format writes a figure.
export class Line {
  #box = el('div', { class: 'plot' });
  #read = el('p', { class: 'reading', 'aria-hidden': 'true' });
  #samples = null; // until the first are read

  // waiting is shown while there are too few figures. latest says what the last one is.
  // A scale of streams has no halves.
  constructor(title, kind, valueOf, format, waiting = t('chart_waiting'), latest = t('now')) {
    [this.title, this.kind, this.valueOf, this.format, this.waiting, this.latest] = [title, kind, valueOf, format, waiting, latest];
    this.wholes = kind === 'streams';
    if (waiting) this.#box.append(el('p', { class: 'empty loading' }, t('loading')));
    this.whole = el('figure', { class: `chart ${kind}` }, el('figcaption', {}, title), this.#read, this.#box);
    this.#box.addEventListener('pointermove', (e) => this.#draw(e.clientX - this.#box.getBoundingClientRect().left));
    this.#box.addEventListener('pointerleave', () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#box);
  }

  show(samples) {
    this.#samples = samples;
    this.#draw();
  }

  #draw(pointer) {
    if (!this.#samples) return;
    const width = this.#box.clientWidth;
    if (this.#samples.length < 2 || width < 40) {
      this.#box.replaceChildren(el('p', { class: 'empty' }, this.waiting));
      return;
    }
    const times = this.#samples.map((s) => Date.parse(s.at));
    const values = this.#samples.map(this.valueOf);
    const [first, last] = [Math.min(times[0], times.at(-1) - 60000), times.at(-1)];
    const most = Math.max(...values);
    const top = nice(most);
    const x = (at) => beside + ((at - first) / (last - first)) * (width - 2 * beside);
    const y = (value) => 8 + (1 - value / top) * (height - below - 8);
    const points = times.map((at, i) => `${x(at).toFixed(1)},${y(values[i]).toFixed(1)}`);
    const floor = y(0);
    let at = values.length - 1;
    if (pointer !== undefined) at = times.reduce((best, time, i) => (Math.abs(x(time) - pointer) < Math.abs(x(times[best]) - pointer) ? i : best), 0);
    this.#read.replaceChildren(el('strong', {}, this.format(values[at])), ` ${pointer === undefined ? this.latest : clock(times[at], false)}`);
    const said = `${this.title}: ${t('chart_now', { latest: this.latest, value: this.format(values.at(-1)), most: this.format(most) })}`;
    this.#box.replaceChildren(
      svg('svg', { role: 'img', 'aria-label': said, width, height, viewBox: `0 0 ${width} ${height}` },
        [top, top / 2, 0].map((value) => svg('line', { class: 'grid', x1: beside, x2: width - beside, y1: y(value), y2: y(value) })),
        svg('path', { class: 'area', d: `M${x(times[0])},${floor} L${points.join(' L')} L${x(last)},${floor} Z` }),
        svg('polyline', { class: 'line', points: points.join(' ') }),
        [top, top / 2].map((value) => (!this.wholes || Number.isInteger(value)) && svg('text', { x: beside, y: y(value) + 11 }, this.format(value))),
        svg('text', { x: beside, y: height - 4 }, clock(first, false)),
        svg('text', { x: width - beside, y: height - 4, 'text-anchor': 'end' }, clock(last, false)),
        pointer !== undefined && svg('line', { class: 'rule', x1: x(times[at]), x2: x(times[at]), y1: 4, y2: floor }),
        svg('circle', { class: 'dot', cx: x(times[at]), cy: y(values[at]), r: 3.5 })),
    );
  }
}

// spark is a small row of columns, for figures that also stand beside it as text.
export function spark(counts) {
  const most = Math.max(1, ...counts);
  const width = 100 / Math.max(1, counts.length);
  return svg('svg', { class: 'spark', 'aria-hidden': 'true', preserveAspectRatio: 'none', viewBox: '0 0 100 24' },
    counts.map((n, i) => n > 0 && svg('rect', { x: (i * width).toFixed(2), width: (width * 0.85).toFixed(2), y: (24 - Math.max(1, (24 * n) / most)).toFixed(2), height: Math.max(1, (24 * n) / most).toFixed(2) })));
}

// bars is a list of figures with a bar behind each: [{name, value, text}].
export function bars(list, things) {
  const most = Math.max(1, ...things.map((thing) => thing.value));
  list.replaceChildren(
    ...things.map(({ name, value, text }) =>
      el('li', {},
        svg('svg', { class: 'bar', 'aria-hidden': 'true', preserveAspectRatio: 'none', viewBox: '0 0 100 1' },
          svg('rect', { width: (100 * value) / most, height: 1 })),
        el('span', { class: 'name' }, name),
        el('span', { class: 'value' }, text))),
  );
}
