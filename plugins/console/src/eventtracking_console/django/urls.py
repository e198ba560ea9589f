"""The address: `path("tracking/", include("eventtracking_console.django.urls"))`."""

from __future__ import annotations

from django.urls import re_path

from eventtracking_console.django.views import console

app_name = "eventtracking_console"
urlpatterns = [re_path(r"^(?P<path>.*)$", console, name="console")]
