"""The pages."""

from __future__ import annotations

import json

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from academy.models import Enrollment
from academy.tasks import send_welcome
from eventtracking import tracker
from eventtracking_django.tracker import emit

COURSES = {"owls": "Owls at night", "bread": "Bread without a machine"}


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """List the courses."""
    tracker.emit("page.viewed", {"page": "home", "courses": len(COURSES)})
    return render(request, "home.html", {"courses": COURSES})


@login_required
def course(request: HttpRequest, course_id: str) -> HttpResponse:
    """Show one course."""
    tracker.emit("page.viewed", {"page": "course", "title": COURSES[course_id]})
    enrolled = Enrollment.objects.filter(user=request.user, course_id=course_id).exists()
    return render(
        request, "course.html", {"id": course_id, "title": COURSES[course_id], "enrolled": enrolled}
    )


@login_required
@require_POST
def enroll(request: HttpRequest, course_id: str) -> HttpResponse:
    """Enrol.

    The event and the task wait for the commit: nobody is told of an enrolment that was rolled back.
    """
    Enrollment.objects.get_or_create(user=request.user, course_id=course_id)
    emit(
        "enrollment.activated",
        {"course_id": course_id, "mode": request.POST.get("mode", "audit")},
        on_commit=True,
    )
    transaction.on_commit(lambda: send_welcome.delay(course_id))
    return redirect("course", course_id)


@transaction.non_atomic_requests
@require_POST
async def progress(request: HttpRequest, course_id: str) -> HttpResponse:
    """Take what the page tells of its reader, on an event loop."""
    tracker.emit("page.progress", json.loads(request.body))
    return JsonResponse({"course_id": course_id})
