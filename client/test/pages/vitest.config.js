import { compile } from 'svelte/compiler';

// Components of Svelte are compiled for browsers.
const svelte = {
  name: 'svelte',
  transform(code, id) {
    if (id.endsWith('.svelte')) return compile(code, { filename: id, generate: 'client' }).js;
  },
};

export default {
  plugins: [svelte],
  resolve: { conditions: ['browser'] },
  test: { environment: 'jsdom', include: ['*.vitest.js'], root: import.meta.dirname },
};
