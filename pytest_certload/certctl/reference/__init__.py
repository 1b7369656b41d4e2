"""How does certctl's load-relevant surface run with nothing but Python and Postgres?

A server of its own that does, request for request, what certctl does in the load scenarios: the
same paths, statuses and bodies, the same SQL on the same schema.  It says in its version that it
is the reference server.  Run it with ``python -m pytest_certload.certctl.reference``.
"""
