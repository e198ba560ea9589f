"""Delivery, the same for every storage. Read `queued_event`, `queue`, `lane`, `worker`."""
