"""The console in Django: `INSTALLED_APPS += ["eventtracking_console.django"]`, and its `urls`."""
