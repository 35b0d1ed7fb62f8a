"""The section of the config store."""

from __future__ import annotations

from starlette.routing import Route

from when_ml_pipeline_meets_hydra.web.configs import entries, history
from when_ml_pipeline_meets_hydra.web.section import Section

SECTION = Section(
    title="Configs",
    path="/configs",
    routes=(
        Route("/configs", entries.entries_page),
        Route("/configs/entries/{path:path}", entries.entry_page),
        Route("/configs/matrix-table/{group:path}", entries.matrix_table),
        Route("/configs/matrix/{group:path}", entries.matrix_page),
        Route("/configs/history", history.history_page),
        Route("/configs/history/{number:int}", history.revision_page),
        Route("/configs/history/{number:int}/reach", history.revision_reach),
        Route("/configs/history/{number:int}/revert", history.revert, methods=["POST"]),
    ),
)
