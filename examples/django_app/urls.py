"""Which view answers which path."""

import views
from django.urls import path

urlpatterns = [
    path("health", views.health),
    path("reports/export", views.export),
    path("tasks/create", views.create),
    path("wiki/<slug:feature>", views.wiki),
]
