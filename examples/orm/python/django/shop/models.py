from django.db import models


class PayloadField(models.JSONField):
    """A column of type json: psycopg has parsed its values already, Django's own field expects jsonb."""

    def from_db_value(self, value, expression, connection):
        return value


class Event(models.Model):
    id = models.BigAutoField(primary_key=True)
    topic = models.TextField()
    type = models.TextField()
    payload = PayloadField(null=True)
    source = models.TextField(null=True)
    headers = models.JSONField(null=True)
    dedup_key = models.TextField(null=True)
    deliver_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        managed = False  # makemigrations and migrate leave the view alone
        db_table = "outbox"


class Item(models.Model):
    id = models.BigAutoField(primary_key=True)
    name = models.TextField()

    class Meta:
        db_table = "item"
