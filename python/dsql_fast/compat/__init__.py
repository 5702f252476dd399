"""The official connector's public names over ours: change the import, keep the code.

One module for each of the packages of ``aurora-dsql-python-connector``, by the same name::

    from dsql_fast.compat import aurora_dsql_psycopg as dsql

What is the same and what differs: ``docs/migrating.md``. No driver is imported before its module is.
"""
