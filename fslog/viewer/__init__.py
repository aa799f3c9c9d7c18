"""The viewer: the embedded endpoint with a page, to watch events arrive and see what is wrong.

`fslog.viewer.server.Viewer` is all of it; `fslog viewer` is its command. One direction again: what
arrives becomes entries and facts about requests (`arrivals`), these are kept (`store`), and read by
the HTTP API (`api`), by the stream (`stream`) and so by the page (`static/`).
"""
