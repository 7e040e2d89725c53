// clock is the database's, which the events and deadlines are told in.
export const clock = {
  ahead: 0, // ms, against this machine's
  error: Infinity, // ms, what ahead may be wrong by

  now() {
    return Date.now() + this.ahead;
  },

  // set learns from an answer that said now, to a question asked and answered
  // at these times of this machine. What can be explained by the way there and
  // back is not a wrong clock, and a quicker answer knows better than a slow one.
  set(now, asked, answered) {
    const off = Date.parse(now) - (asked + answered) / 2;
    const error = (answered - asked) / 2 + 1;
    const drifted = Math.abs(off - this.ahead) > error + this.error;
    if (error > this.error && !drifted) return;
    [this.ahead, this.error] = [Math.abs(off) <= error ? 0 : off, error];
  },
};
