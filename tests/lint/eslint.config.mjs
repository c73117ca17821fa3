// The rules that eslint recommends, for the pages' JavaScript and for the tests.
import js from '@eslint/js';
import globals from 'globals';

export default [
  js.configs.recommended,
  {
    files: ['www/*.js'],
    languageOptions: { sourceType: 'script', globals: globals.browser },
  },
  {
    files: ['tests/**/*.mjs'],
    languageOptions: { globals: globals.node },
  },
  {
    // These hand functions to a browser, which calls them in a page.
    files: ['tests/e2e/{iframe,page,page_auto,page_ways}.test.mjs', 'tests/e2e/screenshots.mjs'],
    languageOptions: { globals: { document: 'readonly', window: 'readonly' } },
  },
];
