"""The control API: turns HTTP requests into commands and views of the control loop, and decides nothing itself.

`routes.operators_router` is what an application registers.
"""
