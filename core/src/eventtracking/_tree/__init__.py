"""The whole tree of routes, and a router's view of its part.

Read in this order: tree, build, downstream.
"""
