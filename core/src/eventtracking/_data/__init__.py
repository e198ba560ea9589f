"""From a caller's values to an event's.

Read in this order: capture, copy, mend; `_compiled.c` is the fast form of the first two.
"""
