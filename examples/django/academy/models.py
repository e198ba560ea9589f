"""What the site stores."""

from django.conf import settings
from django.db import models


class Enrollment(models.Model):
    """Somebody takes part in a course."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    course_id = models.CharField(max_length=100)

    class Meta:
        """Once is enough."""

        constraints = (models.UniqueConstraint(fields=["user", "course_id"], name="enrolled_once"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.course_id}"
