"""Append events with Django: python3 main.py postgres://…"""
import os
import sys

import django
from django.db import transaction

os.environ["DATABASE_URL"] = sys.argv[1]
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from scenes import scene, skip, stack
from shop.models import Event, Item

stack("Django", django.get_version())


@scene("one")
def one():
    return Event.objects.create(topic="orm/one", type="item.added", payload={"item": 1}).id


@scene("many")
def many():
    events = [Event(topic="orm/many", type="item.added", payload={"item": n}) for n in (1, 2, 3)]
    return [event.id for event in Event.objects.bulk_create(events)]


@scene("transaction")
def in_transaction():
    with transaction.atomic():
        item = Item.objects.create(name="lamp")
        return Event.objects.create(topic="orm/transaction", type="item.added", payload={"item": item.id}).id


@scene("rollback")
def rolled_back():
    with transaction.atomic():
        Item.objects.create(name="ghost")
        Event.objects.create(topic="orm/rollback", type="item.added")
        transaction.set_rollback(True)


@scene("returning")
def returning():
    with transaction.atomic():
        event = Event.objects.create(topic="orm/returning", type="item.added", payload={"item": 4})
        event.refresh_from_db()  # the id comes with the INSERT, the rest can be read until the commit
    assert event.created_at is not None and event.source == "/"
    return event.id


@scene("null")
def null():
    # Django sends NULL for every field that is not set.
    return Event.objects.create(topic="orm/null", type="item.added").id


skip("default", "Django sends every column; db_default is new in Django 5")


@scene("json")
def as_json():
    return Event.objects.create(
        topic="orm/json",
        type="item.added",
        payload={"item": {"name": "Lämpchen 灯", "tags": ["new", 2, None], "price": 9.5}},
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ).id


@scene("retry")
def retry():
    def pay():
        with transaction.atomic():
            return Event.objects.create(
                topic="orm/retry", type="item.paid", payload={"item": 7}, dedup_key="item-7-paid"
            ).id

    return [pay(), pay()]


@scene("clone")
def clone():
    with transaction.atomic():
        event = Event.objects.create(topic="orm/clone", type="item.added", payload={"item": 8})
        event = Event.objects.get(pk=event.pk)
    first = event.id
    event.pk = None
    event._state.adding = True
    event.save()
    return [first, event.id]


@scene("read")
def read():
    with transaction.atomic():
        Event.objects.create(topic="orm/read", type="item.added", payload={"item": 9})
        return Event.objects.get(topic="orm/read").id
