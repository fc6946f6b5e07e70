"""The control API: HTTP on one side, the control loop on the other, and nothing decided in between.

`routes.control_router` is all there is to register; see there for what it needs.
"""
