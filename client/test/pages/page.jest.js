import { expect, test } from '@jest/globals';
import { pages } from './setup.js';

pages({ test, expect });
