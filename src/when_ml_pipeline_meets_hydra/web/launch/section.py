"""The routes of the section."""

from __future__ import annotations

from starlette.routing import Route

from when_ml_pipeline_meets_hydra.web.launch import pages
from when_ml_pipeline_meets_hydra.web.section import Section

POST = ["POST"]

SECTION = Section(
    title="Launch",
    path="/launch",
    routes=(
        Route("/launch", pages.launch_page),
        Route("/launch", pages.check_form, methods=POST),
        Route("/launch/start", pages.start, methods=POST),
        Route("/launch/{number:small}", pages.one_page),
        Route("/launch/{number:small}/events", pages.events),
        Route("/launch/{number:small}/cancel", pages.cancel, methods=POST),
    ),
)
