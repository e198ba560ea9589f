"""The trials: what must hold while processes are killed, servers are stopped and millions of events
pass.
"""
