import { useEffect, useRef, useState } from 'react';
import { beginning, follow } from './follow.js';

/** @type {typeof import('../react.d.ts').useOutcrier} */
export function useOutcrier(url, options, listeners = {}) {
  const [change, show] = useState(beginning);
  const latest = useRef(listeners);
  /** @type {import('react').RefObject<ReturnType<typeof follow> | null>} */
  const following = useRef(null);
  const { topics, ...others } = options;
  useEffect(() => { latest.current = listeners; });
  useEffect(() => {
    const here = follow(url, options, () => /** @type {any} */ (latest.current), show);
    following.current = here;
    return () => {
      here.close();
      show(beginning);
    };
  }, [String(url), JSON.stringify(others)]);
  useEffect(() => following.current?.topics(topics), [JSON.stringify(topics)]);
  return change;
}
