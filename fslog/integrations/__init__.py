"""Integrations: bind who is acting, for as long as a framework handles one request or task.

Each module imports its framework only when it is used; `rq`, whose class it extends, at once.
`attachment` is for any application: it attaches handlers beside its logging.
"""
