"""Runs read from a W&B server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from jepa_scale.integrations.wandb.files import WandbRun
from jepa_scale.integrations.wandb.sync import check_login
from jepa_scale.runs.errors import UserError

SCHEME = "wandb://"
_FILTERS = {"group": "group", "job_type": "jobType", "tag": "tags", "state": "state"}
"""Of an address: the name that the server knows each by."""
_FORM = f"{SCHEME}ENTITY/PROJECT[?group=G&job_type=J&tag=T&state=finished&host=SERVER]"


@dataclass(frozen=True)
class WandbAddress:
    """Where runs are, and which."""

    entity: str
    project: str
    filters: Mapping[str, str]
    """As the server knows them."""
    host: str = ""
    """Address of a server of one's own; empty: the one that W&B is set up for."""


def parse_address(text: str) -> WandbAddress:
    """Read ``wandb://ENTITY/PROJECT?…``.

    Raises
    ------
    UserError
        Shows what one looks like.
    """
    path, _, query = text.removeprefix(SCHEME).partition("?")
    names = path.strip("/").split("/")
    asked = parse_qsl(query, keep_blank_values=True)
    unknown = [key for key, _ in asked if key not in (*_FILTERS, "host")]
    repeated = len({key for key, _ in asked}) < len(asked)
    if len(names) != 2 or not all(names) or unknown or repeated or not all(value for _, value in asked):
        raise UserError(f"expected {_FORM}, each at most once, got {text}")
    given = dict(asked)
    host = given.pop("host", "")
    if host and "://" not in host:
        host = f"https://{host}"
    return WandbAddress(names[0], names[1], {_FILTERS[key]: value for key, value in given.items()}, host.rstrip("/"))


def read_server(address: WandbAddress, needs_history: Callable[[WandbRun], bool]) -> list[WandbRun]:
    """Read the runs at an address, the oldest first.

    Raises
    ------
    UserError
        If nobody is logged in, the server cannot be reached or refuses, or no run is there.
    """
    check_login({"WANDB_BASE_URL": address.host} if address.host else None)
    import wandb

    where = f"{SCHEME}{address.entity}/{address.project}"
    try:
        api = wandb.Api(overrides={"base_url": address.host} if address.host else None)
        # Not lazily: a page of runs with their summaries is one request, a summary of its own for each would be many.
        found = api.runs(f"{address.entity}/{address.project}", filters=_query(address.filters), lazy=False)
        runs = runs_of(found, address.project, needs_history)
    except Exception as error:
        # What W&B raises has no common base: its own errors, those of its service, of HTTP, ValueError.
        said = (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
        raise UserError(
            f"{where} cannot be read ({said}): check its name, your access (`wandb login`) and the network"
        ) from None
    if not runs:
        asked = "".join(f", {name}={value}" for name, value in address.filters.items())
        raise UserError(f"{where} holds no such run{asked}: leave out a filter, or check the project")
    return runs


def _query(filters: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"$in": [value]} if name == "tags" else value for name, value in filters.items()}


def runs_of(found: Iterable[Any], project: str, needs_history: Callable[[WandbRun], bool]) -> list[WandbRun]:
    """Take over runs of W&B's interface; the history, a request for each run, only where it is needed."""
    runs = []
    for one in found:
        summary = _plain(dict(one.summary_metrics))
        summary.pop("_wandb", None)
        run = WandbRun(
            one.id, project, one.group or "", one.job_type or "", one.name or "", tuple(one.tags or ()),
            config=_plain(dict(one.config)), history=(), summary=summary, started=_seconds(one.created_at),
            state=one.state,
        )  # fmt: skip
        if needs_history(run):
            run = replace(run, history=tuple(_plain(dict(row)) for row in one.scan_history()))
        runs.append(run)
    return sorted(runs, key=lambda run: run.started)


def _plain(value: Any) -> Any:
    """JSON has no NaN: the server writes such numbers as texts."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    numbers = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    return numbers.get(value, value) if isinstance(value, str) else value


def _seconds(created: str) -> float:
    moment = datetime.fromisoformat(created.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
