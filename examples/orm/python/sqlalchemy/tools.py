"""What SQLAlchemy and Alembic do to a database with an outbox: python3 tools.py postgres://…"""
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from models import Base
from scenes import scene

engine = create_engine(sys.argv[1].replace("postgres://", "postgresql+psycopg2://"), future=True)


def autogenerate(**options):
    with engine.connect() as conn:
        return compare_metadata(MigrationContext.configure(conn, opts=options), Base.metadata)


@scene("alembic revision --autogenerate")
def default():
    # Alembic reads the tables of the default schema. A view is none.
    assert (diff := autogenerate()) == [], diff


@scene("alembic revision --autogenerate, include_schemas")
def all_schemas():
    # Where env.py has include_schemas=True, this keeps Alembic from dropping the outbox's tables.
    def include_name(name, type_, parent_names):
        return type_ != "schema" or name != "outcrier"

    assert (diff := autogenerate(include_schemas=True, include_name=include_name)) == [], diff


@scene("metadata.drop_all, create_all")
def drop_all():
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
