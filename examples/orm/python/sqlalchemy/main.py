"""Append events with SQLAlchemy's ORM: python3 main.py postgres://…"""
import sys

import sqlalchemy
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, make_transient
from sqlalchemy.sql import null

from models import Event, Item
from scenes import scene, stack

engine = create_engine(sys.argv[1].replace("postgres://", "postgresql+psycopg2://"), future=True)

stack("SQLAlchemy", sqlalchemy.__version__)


@scene("one")
def one():
    with Session(engine) as session, session.begin():
        event = Event(topic="orm/one", type="item.added", payload={"item": 1})
        session.add(event)
        session.flush()
        return event.id


@scene("many")
def many():
    with Session(engine) as session, session.begin():
        events = [Event(topic="orm/many", type="item.added", payload={"item": n}) for n in (1, 2, 3)]
        session.add_all(events)
        session.flush()
        return [event.id for event in events]


@scene("transaction")
def in_transaction():
    with Session(engine) as session, session.begin():
        item = Item(name="lamp")
        session.add(item)
        session.flush()
        event = Event(topic="orm/transaction", type="item.added", payload={"item": item.id})
        session.add(event)
        session.flush()
        return event.id


@scene("rollback")
def rolled_back():
    with Session(engine) as session:
        session.add_all([Item(name="ghost"), Event(topic="orm/rollback", type="item.added")])
        session.flush()
        session.rollback()


@scene("returning")
def returning():
    with Session(engine) as session, session.begin():
        event = Event(topic="orm/returning", type="item.added", payload={"item": 4})
        session.add(event)
        session.flush()
        # The id comes with the INSERT. What else the database sets is read when it is asked for.
        assert event.created_at is not None and event.source == "/"
        return event.id


@scene("null")
def as_null():
    with Session(engine) as session, session.begin():
        event = Event(
            topic="orm/null", type="item.added", payload=null(), source=null(), headers=null(),
            dedup_key=null(), deliver_at=null(), created_at=null(),
        )
        session.add(event)
        session.flush()
        return event.id


@scene("default")
def as_default():
    # A column with a server default that is not set is left out of the INSERT.
    with Session(engine) as session, session.begin():
        event = Event(topic="orm/default", type="item.added")
        session.add(event)
        session.flush()
        return event.id


@scene("json")
def as_json():
    with Session(engine) as session, session.begin():
        event = Event(
            topic="orm/json",
            type="item.added",
            payload={"item": {"name": "Lämpchen 灯", "tags": ["new", 2, None], "price": 9.5}},
            headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        )
        session.add(event)
        session.flush()
        return event.id


@scene("retry")
def retry():
    def pay():
        with Session(engine) as session, session.begin():
            event = Event(topic="orm/retry", type="item.paid", payload={"item": 7}, dedup_key="item-7-paid")
            session.add(event)
            session.flush()
            return event.id

    return [pay(), pay()]


@scene("clone")
def clone():
    with Session(engine, expire_on_commit=False) as session:
        with session.begin():
            session.add(Event(topic="orm/clone", type="item.added", payload={"item": 8}))
            session.flush()
            session.expunge_all()
            event = session.scalars(select(Event).where(Event.topic == "orm/clone")).one()
        first = event.id
        with session.begin():
            make_transient(event)
            event.id = None
            session.add(event)
            session.flush()
            return [first, event.id]


@scene("read")
def read():
    with Session(engine) as session, session.begin():
        session.add(Event(topic="orm/read", type="item.added", payload={"item": 9}))
        return session.scalars(select(Event).where(Event.topic == "orm/read")).one().id
