"""The store: keeps the control record, its audit, pins, tokens and resume documents beyond the life of a process.

`port` is the interface and `sql` the implementation; what a record means is the business of `app.control`.
"""
