// Of all JavaScript in the repository: run it from its root, as make check does.
import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['client/client.js', 'client/client.all.js', 'client/client/**', '**/testdata/**', '**/node_modules/**', 'internal/conformance/**', 'examples/orm/node/prisma/generated/**'] },
  {
    files: ['**/*.js'],
    ...js.configs.recommended,
    languageOptions: { globals: globals.browser },
    rules: {
      ...js.configs.recommended.rules,
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-empty': ['error', { allowEmptyCatch: true }],
      'no-unused-private-class-members': 'off', // also counts what is only assigned by ||=
      'no-var': 'error',
      'prefer-const': ['error', { destructuring: 'all' }],
    },
  },
  { files: ['client/test/**', 'client/*.config.js'], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
