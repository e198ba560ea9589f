"""The path of one event, from `emit` to `send`.

Read in this order: tracker, route, chain, answers; then reentrancy, context, process.
"""
