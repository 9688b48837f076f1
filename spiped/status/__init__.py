"""The status server: what a daemon tells of itself over HTTP (docs/status.md).

    process -> server -> client -> routes -> exposition, page

It has a process of its own, which holds no key and can change nothing.
"""
