"""The form of an entry, its text, and how both become a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from when_ml_pipeline_meets_hydra.config_store import workflow
from when_ml_pipeline_meets_hydra.config_store.drafts import OPEN, Draft
from when_ml_pipeline_meets_hydra.config_store.effective import search_path
from when_ml_pipeline_meets_hydra.config_store.entries import checked_path, checked_text, normalized
from when_ml_pipeline_meets_hydra.config_store.forms import EntryForm, form_of
from when_ml_pipeline_meets_hydra.config_store.migrating import with_keys
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, Refused
from when_ml_pipeline_meets_hydra.web.configs.composing import COMPOSING, store_of
from when_ml_pipeline_meets_hydra.web.pages import field, redirect, render, settings_of
from when_ml_pipeline_meets_hydra.web.pages import form_of as sent

VALUE, WAS, UNSET = "value:", "was:", "unset"


@dataclass(frozen=True, kw_only=True)
class Editing:
    """What is edited: an entry as it is published or in a draft, with the revision and edit that it is from."""

    store: ConfigStore
    path: str
    text: str
    base: int
    draft: Draft | None
    seen: int
    is_new: bool
    config_dirs: Sequence[str]

    def form(self) -> EntryForm:
        """The form of the entry."""
        number = self.draft.number if self.draft else None
        if self.draft:
            texts = workflow.texts_after(self.store, self.draft)
        else:
            texts = {path: entry.text for path, entry in self.store.entries().items()}
        search = search_path(self.store.location, self.config_dirs, draft=number)
        with COMPOSING:
            return form_of(self.path, {self.path: self.text, **texts}, search)


def edit_page(request: Request) -> Response:
    """Show the form of an entry, or with ``?as=text`` its text; ``?draft=`` edits it in a draft."""
    number = request.query_params.get("draft", "")
    editing = _editing(request, int(number[:9]) if number.isdecimal() else None)
    if request.query_params.get("as") == "text":
        return _page(request, editing, text=editing.text)
    return _page(request, editing)


def save(request: Request) -> Response:
    """Propose what was sent, in a new draft or in an open one; what is wrong is shown, and nothing is lost."""
    number, base = field(request, "draft"), field(request, "base")
    text: str | None = None
    editing = _editing(request, int(number[:9]) if number.isdecimal() else None)
    try:
        text = normalized(field(request, "text")) if "text" in sent(request) else _edited(request, editing)
        text = checked_text(editing.path, text)
        if text == editing.text and not editing.draft:
            raise BadInput(Problem(key=editing.path, message="nothing was changed"))
        draft = _propose(request, editing, text, int(base[:9]) if base.isdecimal() else editing.base)
    except BadInput as wrong:
        return _page(request, editing, wrong.problems, text=text if "text" in sent(request) else None, status=422)
    except Refused as refused:
        found = [Problem(key=refused.key, message=refused.message)]
        return _page(request, editing, found, text=text if "text" in sent(request) else None, status=403)
    return redirect(request, f"/configs/drafts/{draft}", f"Draft {draft} has it. Review it, then publish it.")


def preview(request: Request) -> Response:
    """Show the text that the form comes to."""
    number = field(request, "draft")
    editing = _editing(request, int(number[:9]) if number.isdecimal() else None)
    try:
        return render(request, "configs/preview.html", text=_edited(request, editing), found=())
    except BadInput as wrong:
        return render(request, "configs/preview.html", text="", found=wrong.problems)


def new_page(request: Request) -> Response:
    """Ask for the name of a new entry, then go on to its text."""
    name = request.query_params.get("name", "")
    if name:
        return redirect(request, f"/configs/edit/{checked_path(name)}?as=text")
    store = store_of(request)
    groups = sorted({entry.group for entry in store.entries().values()} if store.exists else ())
    return render(request, "configs/new.html", groups=groups)


def remove(request: Request) -> Response:
    """Propose to remove an entry."""
    store, path, dirs = store_of(request), request.path_params["path"], settings_of(request).config_dirs
    with COMPOSING:
        draft = workflow.propose(store, {path: None}, f"removal of {path}", config_dirs=dirs)
    return redirect(request, f"/configs/drafts/{draft}", f"Draft {draft} removes {path}. Review it next.")


def _editing(request: Request, number: int | None) -> Editing:
    store, path = store_of(request), checked_path(request.path_params["path"])
    dirs = settings_of(request).config_dirs
    draft = store.draft(number) if number is not None else None
    change = next((c for c in draft.changes if c.path == path), None) if draft else None
    entry = store.entries().get(path) if store.exists else None
    base = change.base if change else store.bases().get(path, 0) if store.exists else 0
    text = change.after if change else entry.text if entry else None
    is_new = text is None
    with COMPOSING:
        text = workflow.first_text(store, path, dirs) if text is None else text
    seen = draft.last_edit if draft else 0
    return Editing(
        store=store, path=path, text=text, base=base, draft=draft, seen=seen, is_new=is_new, config_dirs=dirs
    )


def _edited(request: Request, editing: Editing) -> str:
    """The text with the values of the form that are other ones than it showed."""
    form, values = editing.form(), []
    before = _text_of_base(request, editing)
    fields = {name.removeprefix(VALUE): texts[-1] for name, texts in sent(request).items() if name.startswith(VALUE)}
    unset = sent(request).get(UNSET, [])
    if added := field(request, "added").strip():
        fields[added] = field(request, "added-value")
    for key, text in fields.items():
        known = form.field(key)
        if key not in unset and (key == added or text != field(request, f"{WAS}{key}")):
            values.append((key, known.written(text) if known else text))
    return with_keys(editing.path, before, values, unset)


def _text_of_base(request: Request, editing: Editing) -> str:
    """The text that the form was made of: that of its revision, also where another one was published since."""
    base = field(request, "base")
    if editing.draft or not base.isdecimal() or int(base[:9]) in (0, editing.base):
        return editing.text
    entry = editing.store.entries(int(base[:9])).get(editing.path)
    return entry.text if entry else editing.text


def _propose(request: Request, editing: Editing, text: str, base: int) -> int:
    number = editing.draft.number if editing.draft else None
    seen, message = field(request, "seen"), field(request, "message").strip()
    with COMPOSING:
        workflow.check_text(editing.store, editing.path, text, draft=number, config_dirs=editing.config_dirs)
        return workflow.propose(
            editing.store,
            {editing.path: text},
            message or f"edit of {editing.path}",
            draft=number,
            seen=int(seen[:9]) if number and seen.isdecimal() else None,
            bases={editing.path: base},
            config_dirs=editing.config_dirs,
        )


def _page(
    request: Request,
    editing: Editing,
    problems: Sequence[Problem] = (),
    *,
    text: str | None = None,
    status: int = 200,
) -> Response:
    """The page with what was sent, if anything was, and with what is wrong about it."""
    form = None
    if text is None and editing.is_new:
        text = editing.text
    if text is None:
        try:
            form = editing.form()
        except BadInput as wrong:
            problems, text = [*problems, *wrong.problems], editing.text
    given = sent(request)
    content: dict[str, Any] = {
        "entry": editing.path,
        "draft": editing.draft,
        "drafts": [draft for draft in editing.store.drafts() if draft.status == OPEN] if editing.store.exists else [],
        "base": field(request, "base") or editing.base,
        "seen": field(request, "seen") or editing.seen,
        "message": field(request, "message"),
        "given": {name: texts[-1] for name, texts in given.items()},
        "unset": given.get(UNSET, []),
        "wrong": {problem.key for problem in problems},
    }
    page = "configs/edit.html" if form else "configs/edit_text.html"
    return render(request, page, status=status, form=form, text=text, found=problems, before=editing.text, **content)
