"""Delivery, the same for every storage. Read `queue`, `attempt`, `lane`, `worker`."""
