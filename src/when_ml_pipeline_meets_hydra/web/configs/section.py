"""The section of the config store."""

from __future__ import annotations

from starlette.routing import Route

from when_ml_pipeline_meets_hydra.web.configs import drafts, editing, entries, history
from when_ml_pipeline_meets_hydra.web.section import Section

POST = ["POST"]

SECTION = Section(
    title="Configs",
    path="/configs",
    routes=(
        Route("/configs", entries.entries_page),
        Route("/configs/entries/{path:path}", entries.entry_page),
        Route("/configs/matrix-table/{group:path}", entries.matrix_table),
        Route("/configs/matrix/{group:path}", entries.matrix_page),
        Route("/configs/new", editing.new_page),
        Route("/configs/edit/{path:path}", editing.edit_page),
        Route("/configs/edit/{path:path}", editing.save, methods=POST),
        Route("/configs/preview/{path:path}", editing.preview, methods=POST),
        Route("/configs/remove/{path:path}", editing.remove, methods=POST),
        Route("/configs/drafts", drafts.drafts_page),
        Route("/configs/drafts/{number:small}", drafts.draft_page),
        Route("/configs/drafts/{number:small}/evidence", drafts.draft_evidence),
        Route("/configs/drafts/{number:small}/review", drafts.review, methods=POST),
        Route("/configs/drafts/{number:small}/publish", drafts.publish, methods=POST),
        Route("/configs/drafts/{number:small}/discard", drafts.discard, methods=POST),
        Route("/configs/drafts/{number:small}/merge", drafts.merge, methods=POST),
        Route("/configs/history", history.history_page),
        Route("/configs/history/{number:small}", history.revision_page),
        Route("/configs/history/{number:small}/reach", history.revision_reach),
        Route("/configs/history/{number:small}/revert", history.revert, methods=POST),
    ),
)
