"""Append events with peewee: python3 main.py postgres://…"""
import sys

import peewee
from playhouse.db_url import connect
from playhouse.postgres_ext import BigAutoField, BinaryJSONField, DateTimeTZField, JSONField, Model, TextField

from scenes import scene, stack

database = connect(sys.argv[1])

stack("peewee", peewee.__version__)


class Event(Model):
    id = BigAutoField()
    topic = TextField()
    type = TextField()
    payload = JSONField(null=True)
    source = TextField(null=True)
    headers = BinaryJSONField(null=True, index=False)
    dedup_key = TextField(null=True)
    deliver_at = DateTimeTZField(null=True)
    created_at = DateTimeTZField(null=True)

    class Meta:
        database = database
        table_name = "outbox"


class Item(Model):
    id = BigAutoField()
    name = TextField()

    class Meta:
        database = database


@scene("one")
def one():
    return Event.create(topic="orm/one", type="item.added", payload={"item": 1}).id


@scene("many")
def many():
    rows = [{"topic": "orm/many", "type": "item.added", "payload": {"item": n}} for n in (1, 2, 3)]
    return [row[0] for row in Event.insert_many(rows).execute()]


@scene("transaction")
def in_transaction():
    with database.atomic():
        item = Item.create(name="lamp")
        return Event.create(topic="orm/transaction", type="item.added", payload={"item": item.id}).id


@scene("rollback")
def rolled_back():
    with database.atomic() as transaction:
        Item.create(name="ghost")
        Event.create(topic="orm/rollback", type="item.added")
        transaction.rollback()


@scene("returning")
def returning():
    query = Event.insert(topic="orm/returning", type="item.added", payload={"item": 4})
    (event,) = query.returning(Event.id, Event.source, Event.created_at).execute()
    assert event.created_at is not None and event.source == "/"
    return event.id


@scene("null")
def as_null():
    return Event.create(
        topic="orm/null", type="item.added", payload=None, source=None, headers=None,
        dedup_key=None, deliver_at=None, created_at=None,
    ).id


@scene("default")
def as_default():
    # A field that is not set is left out of the INSERT.
    return Event.create(topic="orm/default", type="item.added").id


@scene("json")
def as_json():
    return Event.create(
        topic="orm/json",
        type="item.added",
        payload={"item": {"name": "Lämpchen 灯", "tags": ["new", 2, None], "price": 9.5}},
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ).id


@scene("retry")
def retry():
    def pay():
        with database.atomic():
            return Event.create(
                topic="orm/retry", type="item.paid", payload={"item": 7}, dedup_key="item-7-paid"
            ).id

    return [pay(), pay()]


@scene("clone")
def clone():
    with database.atomic():
        Event.create(topic="orm/clone", type="item.added", payload={"item": 8})
        event = Event.get(Event.topic == "orm/clone")
    first = event.id
    event.id = None
    event.save(force_insert=True)
    return [first, event.id]


@scene("read")
def read():
    with database.atomic():
        Event.create(topic="orm/read", type="item.added", payload={"item": 9})
        return Event.get(Event.topic == "orm/read").id
