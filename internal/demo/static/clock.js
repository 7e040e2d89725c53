// clock is the database's, which the events and deadlines are told in.
export const clock = {
  ahead: 0, // ms, against this machine's

  now() {
    return Date.now() + this.ahead;
  },

  // set learns from an answer that said now, to a question asked and answered
  // at these times of this machine. What can be explained by the way there and
  // back is not a wrong clock.
  set(now, asked, answered) {
    const off = Date.parse(now) - (asked + answered) / 2;
    this.ahead = Math.abs(off) <= (answered - asked) / 2 + 1 ? 0 : off;
  },
};
