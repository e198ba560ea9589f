"""The predecessor's module names for backends."""
