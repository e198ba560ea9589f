"""One class for each kind of broker; all that depends on the kind is here.

Read in this order: base, amqp, redis, backup_copies, sentinel, choice.
"""
