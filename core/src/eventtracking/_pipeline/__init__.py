"""The path of one event, from `emit` to `send`.

Read in this order: tracker, route, chain; then reentrancy, context, process.
"""
