const quoted = (text) => `'${String(text).replaceAll("'", "''")}'`;

// insertOf is the statement that appends such an event, from any language.
export const insertOf = ({ topic, type, data }) =>
  `INSERT INTO outbox (topic, type, payload) VALUES (${quoted(topic)}, ${quoted(type)}, ${quoted(JSON.stringify(data))})`;

// shortInsertOf is the same, as far as there is room for it.
export const shortInsertOf = ({ topic, type }) => `INSERT … (${quoted(topic)}, ${quoted(type)}, …)`;

// transactionOf reads the transaction that an event came from, as the server ran it; null
// for one that came from elsewhere, like psql.
export async function transactionOf({ id }) {
  const response = await fetch(`/api/demo/sql/${id}`).catch(() => null);
  if (!response?.ok) return null;
  const { statements } = await response.json();
  return ['BEGIN', ...statements, 'COMMIT'].join(';\n\n') + ';';
}
