"""The predecessor's module names for processors."""
