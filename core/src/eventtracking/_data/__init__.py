"""From a caller's values to an event's.

Read in this order: capture, copy; `_compiled.c` is their fast form. Then intake, snapshot, mend.
"""
