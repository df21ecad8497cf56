"""Reading runs from a W&B server."""

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
"""The server's name of each filter in an address."""
_FORM = f"{SCHEME}ENTITY/PROJECT[?group=G&job_type=J&tag=T&state=finished&host=SERVER]"


@dataclass(frozen=True)
class WandbAddress:
    """Address of runs on a W&B server: entity, project, filters and host."""

    entity: str
    project: str
    filters: Mapping[str, str]
    """Filters by the server's names."""
    host: str = ""
    """Address of a self-hosted server; empty: the server that W&B is configured for."""


def parse_address(text: str) -> WandbAddress:
    """Parse ``wandb://ENTITY/PROJECT?…``.

    Raises
    ------
    UserError
        If the text is not such an address; the message shows an example.
    """
    path, _, query = text.removeprefix(SCHEME).partition("?")
    names = path.strip("/").split("/")
    parameters = parse_qsl(query, keep_blank_values=True)
    unknown = [key for key, _ in parameters if key not in (*_FILTERS, "host")]
    repeated = len({key for key, _ in parameters}) < len(parameters)
    if len(names) != 2 or not all(names) or unknown or repeated or not all(value for _, value in parameters):
        raise UserError(f"expected {_FORM}, each at most once, got {text}")
    filters = dict(parameters)
    host = filters.pop("host", "")
    if host and "://" not in host:
        host = f"https://{host}"
    return WandbAddress(names[0], names[1], {_FILTERS[key]: value for key, value in filters.items()}, host.rstrip("/"))


def read_server(address: WandbAddress, needs_history: Callable[[WandbRun], bool]) -> list[WandbRun]:
    """Read the runs at an address, oldest first.

    Raises
    ------
    UserError
        If the user is not logged in, the server cannot be reached or refuses, or there is no such run.
    """
    check_login({"WANDB_BASE_URL": address.host} if address.host else None)
    import wandb

    where = f"{SCHEME}{address.entity}/{address.project}"
    try:
        api = wandb.Api(overrides={"base_url": address.host} if address.host else None)
        # Not lazily: a page of runs with their summaries is one request, a summary of its own for each would be many.
        listing = api.runs(f"{address.entity}/{address.project}", filters=_query(address.filters), lazy=False)
        runs = runs_of(listing, address.project, needs_history)
    except Exception as error:
        # What W&B raises has no common base: its own errors, those of its service, of HTTP, ValueError.
        message = (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
        raise UserError(
            f"{where} cannot be read ({message}): check its name, your access (`wandb login`) and the network"
        ) from None
    if not runs:
        filters = "".join(f", {name}={value}" for name, value in address.filters.items())
        raise UserError(f"{where} holds no such run{filters}: leave out a filter, or check the project")
    return runs


def _query(filters: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"$in": [value]} if name == "tags" else value for name, value in filters.items()}


def runs_of(listing: Iterable[Any], project: str, needs_history: Callable[[WandbRun], bool]) -> list[WandbRun]:
    """Convert runs from W&B's API; the history, one request per run, is read only if needed."""
    runs = []
    for item in listing:
        summary = _plain(dict(item.summary_metrics))
        summary.pop("_wandb", None)
        run = WandbRun(
            item.id, project, item.group or "", item.job_type or "", item.name or "", tuple(item.tags or ()),
            config=_plain(dict(item.config)), history=(), summary=summary, started=_seconds(item.created_at),
            state=item.state,
        )  # fmt: skip
        if needs_history(run):
            run = replace(run, history=tuple(_plain(dict(row)) for row in item.scan_history()))
        runs.append(run)
    return sorted(runs, key=lambda run: run.started)


def _plain(value: Any) -> Any:
    """Convert values from the server, which writes NaN and infinities as texts."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    numbers = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    return numbers.get(value, value) if isinstance(value, str) else value


def _seconds(created: str) -> float:
    moment = datetime.fromisoformat(created.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
