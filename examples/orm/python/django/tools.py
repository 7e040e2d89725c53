"""What Django's commands do to a database with an outbox: python3 tools.py postgres://…"""
import io
import os
import sys

import django
from django.core.management import call_command

os.environ["DATABASE_URL"] = sys.argv[1]
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from scenes import scene


def manage(*args):
    out = io.StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


@scene("manage.py makemigrations --check")
def makemigrations():
    manage("makemigrations", "--check", "--dry-run")  # exits when a migration is missing


@scene("manage.py migrate")
def migrate():
    manage("migrate", "--fake-initial")
    assert "Apply all migrations" in manage("migrate")


@scene("manage.py sqlflush")
def flush():
    # Tests of class TransactionTestCase run it.
    assert "outbox" not in (sql := manage("sqlflush")), sql
    manage("flush", "--no-input")


@scene("manage.py inspectdb --include-views")
def inspectdb():
    models = manage("inspectdb", "--include-views")
    assert "class Item" in models and "managed = False" in models and "Scheduled" not in models, models
