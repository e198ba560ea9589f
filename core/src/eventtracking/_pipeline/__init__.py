"""The path of one event, from `emit` to `send`.

Read in this order: tracker, route, chain, answers; then reentrancy, context, process::

    Tracker.emit          copies the data, adds context, id and time
      root.emit           Route.emit: enters the event in the ledger of the root
        chain.apply       the root's processors: an event, or a Verdict that ends it
        child.emit        Route.emit again, for each child, isolated from its siblings
          chain.apply     the route's own processors
          backend.send    returns, or raises: `answers.failures_of` reads the exception

On the way back each `Route.emit` settles the event in its own ledger: delivered, filtered or
failed, and a group by its worst child. Nothing else counts an event of the application.
"""
