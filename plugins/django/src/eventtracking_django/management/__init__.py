"""What `manage.py` can do with event tracking."""
