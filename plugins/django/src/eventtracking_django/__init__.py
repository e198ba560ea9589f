"""eventtracking in Django: name `eventtracking_django` in INSTALLED_APPS, and its middleware in
MIDDLEWARE.
"""

__all__: list[str] = []
