"""What a browser shows, asked for in tests."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path


class Browsing:
    """Opens pages, and refuses those that complain or ask for anything beside themselves."""

    NAMES = ("chromium", "chromium-browser", "google-chrome")

    def __init__(self, browser):
        self.browser = browser

    @contextmanager
    def open(self, page: Path, width: int = 1200, height: int = 900, **context):
        """Give the open page; at the end it must have had no error and no request."""
        made = self.browser.new_context(viewport={"width": width, "height": height}, **context)
        tab, said, asked = made.new_page(), [], []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        yield tab
        assert said == []
        assert [url for url in asked if url != page.as_uri() and not url.startswith("blob:")] == []
        made.close()


def load_milliseconds(tab) -> float:
    """From the start of the navigation to the end of the load event, by the page's own clock."""
    return tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")


def shown(tab) -> list[str]:
    """Lines of the tooltip; none where it is hidden."""
    return tab.evaluate("(() => { const t = document.querySelector('#tip'); return t.hidden ? [] : [...t.children]"
                        ".map((part) => part.textContent); })()")  # fmt: skip


def point_at(tab, figure: str, key: str) -> None:
    """Move the pointer to the middle of a figure's mark."""
    mark = tab.locator(f'#figure-{figure} [data-p="{key}"]').first
    mark.evaluate("(element) => element.scrollIntoView({block: 'center'})")
    box = mark.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def unfold(tab, section: str = "runs") -> None:
    """Unfold a section by its heading."""
    tab.locator(f"#{section} > details > summary").click()


def rows(tab) -> list[int]:
    """Rows of the table of runs that are shown, in their order, by their place in the data."""
    return tab.evaluate("[...document.querySelectorAll('#runs-table tbody tr')].filter((r) => !r.hidden)"
                        ".map((r) => +r.dataset.r)")  # fmt: skip
