"""Append events with psycopg 3: python3 append.py postgres://…"""
import sys
from datetime import datetime, timedelta, timezone

import psycopg
from psycopg.types.json import Json

with psycopg.connect(sys.argv[1]) as conn:
    # The order and its event are committed together, when the block ends.
    with conn.transaction():
        conn.execute("INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed')")
        event = conn.execute(
            "INSERT INTO outbox (topic, type, payload) VALUES (%s, %s, %s) RETURNING id",
            ("user/42/orders", "order.placed", Json({"order": 1})),
        ).fetchone()[0]
        print("event", event)

    # What is rolled back leaves no event.
    with conn.transaction(force_rollback=True):
        conn.execute("INSERT INTO orders (id, customer, state) VALUES (2, 42, 'placed')")
        conn.execute("INSERT INTO outbox (topic, type) VALUES ('user/42/orders', 'order.placed')")

    # A retry with the same key stores nothing, and gets the first one's id.
    paid = "INSERT INTO outbox (topic, type, dedup_key) VALUES ('user/42/orders', 'order.paid', 'payment-1') RETURNING id"
    ids = [conn.execute(paid).fetchone()[0] for _ in range(2)]
    assert ids[0] == ids[1]

    # To be delivered later.
    conn.execute(
        "SELECT outcrier.append('user/42/orders', 'order.reminded', dedup_key => 'reminder-1', deliver_at => %s)",
        (datetime.now(timezone.utc) + timedelta(days=1),),
    )
    conn.commit()

    # What is not allowed fails the transaction, and says what is.
    try:
        with conn.transaction():
            conn.execute("SELECT outcrier.append('user//42', 'order.placed')")
    except psycopg.errors.CheckViolation as err:
        print(err.sqlstate, err.diag.column_name, err.diag.message_primary)
