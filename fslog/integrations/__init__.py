"""Integrations: bind who is acting, for as long as a framework handles one request.

Each module imports its framework only when it is used.
"""
