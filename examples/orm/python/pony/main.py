"""Append events with Pony: python3 main.py postgres://…"""
import sys
from datetime import datetime

import pony
from pony.orm import Database, Json, Optional, PrimaryKey, Required, db_session, flush, rollback, select

from scenes import scene, stack

db = Database()

stack("Pony", pony.__version__)


class Event(db.Entity):
    _table_ = "outbox"

    id = PrimaryKey(int, size=64, auto=True)
    topic = Required(str)
    type = Required(str)
    payload = Optional(Json, nullable=True)
    source = Optional(str, nullable=True)
    headers = Optional(Json, nullable=True)
    dedup_key = Optional(str, nullable=True)
    deliver_at = Optional(datetime, sql_type="timestamptz")
    created_at = Optional(datetime, sql_type="timestamptz", volatile=True)


class Item(db.Entity):
    _table_ = "item"

    id = PrimaryKey(int, size=64, auto=True)
    name = Required(str)


db.bind("postgres", sys.argv[1])
db.generate_mapping(create_tables=False)  # no DDL; check_tables selects from the view, which is allowed


@scene("one")
@db_session
def one():
    event = Event(topic="orm/one", type="item.added", payload={"item": 1})
    flush()
    return event.id


@scene("many")
@db_session
def many():
    events = [Event(topic="orm/many", type="item.added", payload={"item": n}) for n in (1, 2, 3)]
    flush()
    return [event.id for event in events]


@scene("transaction")
@db_session
def in_transaction():
    item = Item(name="lamp")
    flush()
    event = Event(topic="orm/transaction", type="item.added", payload={"item": item.id})
    flush()
    return event.id


@scene("rollback")
@db_session
def rolled_back():
    Item(name="ghost")
    Event(topic="orm/rollback", type="item.added")
    flush()
    rollback()


@scene("returning")
@db_session
def returning():
    event = Event(topic="orm/returning", type="item.added", payload={"item": 4})
    flush()
    # The id comes with the INSERT. A volatile attribute is read when it is asked for.
    assert event.created_at is not None
    return event.id


@scene("null")
@db_session
def as_null():
    event = Event(topic="orm/null", type="item.added", payload=None, source=None, headers=None,
                  dedup_key=None, deliver_at=None, created_at=None)
    flush()
    return event.id


@scene("default")
@db_session
def as_default():
    # An attribute that is not set is left out of the INSERT.
    event = Event(topic="orm/default", type="item.added")
    flush()
    return event.id


@scene("json")
@db_session
def as_json():
    event = Event(
        topic="orm/json",
        type="item.added",
        payload={"item": {"name": "Lämpchen 灯", "tags": ["new", 2, None], "price": 9.5}},
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    flush()
    return event.id


@scene("retry")
def retry():
    @db_session
    def pay():
        event = Event(topic="orm/retry", type="item.paid", payload={"item": 7}, dedup_key="item-7-paid")
        flush()
        return event.id

    return [pay(), pay()]


@scene("clone")
def clone():
    with db_session:
        Event(topic="orm/clone", type="item.added", payload={"item": 8})
        values = Event.get(topic="orm/clone").to_dict()
    first = values.pop("id")
    with db_session:
        event = Event(**values)
        flush()
        return [first, event.id]


@scene("read")
@db_session
def read():
    Event(topic="orm/read", type="item.added", payload={"item": 9})
    return select(e for e in Event if e.topic == "orm/read").get().id
