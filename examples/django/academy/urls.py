"""Which page is where."""

from django.contrib.auth.views import LoginView
from django.urls import path

from academy import views

urlpatterns = [
    path("", views.home, name="home"),
    path("accounts/login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("courses/<slug:course_id>/", views.course, name="course"),
    path("courses/<slug:course_id>/enroll", views.enroll, name="enroll"),
    path("courses/<slug:course_id>/progress", views.progress, name="progress"),
]
