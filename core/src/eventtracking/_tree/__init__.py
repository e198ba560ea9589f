"""The whole tree of routes, the life of its backends, and a router's view of its part.

Read in this order: tree, leaf, build, attempt, downstream.
"""
