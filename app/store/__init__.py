"""Where the control record, its audit, pins, tokens and resume documents outlive the process.

`port` says what a store can do, `sql` does it; nothing here knows what a record means.
"""
