// Append events with node-postgres: node append.mjs postgres://…
import assert from 'node:assert/strict';
import pg from 'pg';

const client = new pg.Client({ connectionString: process.argv[2] });
await client.connect();

async function transaction(work) {
  await client.query('BEGIN');
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (err) {
    await client.query('ROLLBACK');
    throw err;
  }
}

try {
  // The order and its event are committed together.
  await transaction(async () => {
    await client.query("INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed')");
    const { rows: [event] } = await client.query(
      'INSERT INTO outbox (topic, type, payload) VALUES ($1, $2, $3) RETURNING id',
      ['user/42/orders', 'order.placed', { order: 1 }],
    );
    console.log(`event ${event.id}`);
  });

  // What is rolled back leaves no event.
  const changedMind = new Error('changed my mind');
  await assert.rejects(transaction(async () => {
    await client.query("INSERT INTO orders (id, customer, state) VALUES (2, 42, 'placed')");
    await client.query("INSERT INTO outbox (topic, type) VALUES ('user/42/orders', 'order.placed')");
    throw changedMind;
  }), changedMind);

  // A retry with the same key stores nothing, and gets the first one's id.
  const paid = "INSERT INTO outbox (topic, type, dedup_key) VALUES ('user/42/orders', 'order.paid', 'payment-1') RETURNING id";
  const [first, again] = [await client.query(paid), await client.query(paid)];
  assert.equal(first.rows[0].id, again.rows[0].id);

  // To be delivered later.
  await client.query(
    "SELECT outcrier.append('user/42/orders', 'order.reminded', dedup_key => 'reminder-1', deliver_at => $1)",
    [new Date(Date.now() + 24 * 3600 * 1000)],
  );

  // What is not allowed fails the transaction, and says what is.
  await transaction(() => client.query("SELECT outcrier.append('user//42', 'order.placed')")).catch((err) => {
    console.log(err.code, err.column, err.message);
  });
} finally {
  await client.end();
}
