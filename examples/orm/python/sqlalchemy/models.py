from sqlalchemy import JSON, BigInteger, Column, DateTime, FetchedValue, Identity, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import declarative_base

Base = declarative_base()  # the application's tables
Outbox = declarative_base()  # a MetaData of its own: create_all, drop_all and Alembic don't know of the view


class Event(Outbox):
    __tablename__ = "outbox"

    id = Column(BigInteger, primary_key=True)
    topic = Column(Text, nullable=False)
    type = Column(Text, nullable=False)
    payload = Column(JSON(none_as_null=True), server_default=FetchedValue())
    source = Column(Text, server_default=FetchedValue())
    headers = Column(JSONB(none_as_null=True))
    dedup_key = Column(Text)
    deliver_at = Column(DateTime(timezone=True))
    created_at = Column(DateTime(timezone=True), server_default=FetchedValue())


class Item(Base):
    __tablename__ = "item"

    id = Column(BigInteger, Identity(), primary_key=True)
    name = Column(Text, nullable=False)
