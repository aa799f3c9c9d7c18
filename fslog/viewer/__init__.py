"""The viewer: the embedded endpoint with a page that shows events as they arrive.

`fslog.viewer.server.Viewer` is the entry point and `fslog viewer` its command. Data flows one way:
`recorder` turns each request to the endpoint into entries, `history` keeps them in bounded memory,
and `api` and `stream` serve them as JSON to scripts and to the page in `static/`.
"""
