# mypy: ignore-errors
"""One view, which emits an event that the allowlist names, and one that it does not."""

from django.http import HttpResponse
from django.urls import path

from eventtracking import tracker


def emit(request, number):
    with tracker.get_tracker().context("request", {"path": request.path}):
        tracker.emit("steps.requested", {"number": number})
        tracker.emit("steps.unwanted", {"number": number})
    return HttpResponse("emitted")


urlpatterns = [path("emit/<int:number>", emit)]
