"""Watches pages while a test drives them: whatever a browser complains about, and whatever a script of ours should never do, is kept."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Response

HERE = ("127.0.0.1", "localhost")
ABORTED = re.compile("ERR_ABORTED")
MARKER = "__xss"
"""The payloads of `corpus.py` set this property of the window."""
SCRIPT = f"""
Object.defineProperty(window, "{MARKER}", {{ set(value) {{ console.error("a script ran: " + value) }}, get() {{ return undefined }} }});
document.addEventListener("securitypolicyviolation", (event) =>
  console.error("CSP stopped " + event.violatedDirective + " " + event.blockedURI + " " + (event.sample || "")));
"""


class Watch:
    """Listens to every page of a context. `complaints` are lines for a human; `allow` names statuses that the test provokes."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._allowed: set[int] = set()
        self._confirmed = False

    async def over(self, context: BrowserContext) -> None:
        await context.add_init_script(SCRIPT)
        context.on("page", self._page)
        context.on("console", self._console)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)
        context.on("weberror", lambda error: self._say("error", str(error.error)))

    @contextmanager
    def allow(self, *statuses: int) -> Iterator[None]:
        """Inside, answers with these statuses are what the test wants."""
        before, self._allowed = self._allowed, self._allowed | set(statuses)
        try:
            yield
        finally:
            self._allowed = before

    @contextmanager
    def confirm(self) -> Iterator[None]:
        """Inside, a question of the page is answered with yes."""
        self._confirmed = True
        try:
            yield
        finally:
            self._confirmed = False

    def assert_clean(self) -> None:
        """AssertionError with everything that was complained about; forgets it."""
        complaints, self.complaints = self.complaints, []
        assert not complaints, "\n" + "\n".join(dict.fromkeys(complaints))

    def _say(self, what: str, detail: str) -> None:
        self.complaints.append(f"{what}: {detail}"[:1000])

    def _page(self, page: Page) -> None:
        page.on("dialog", self._dialog)
        page.on("crash", lambda crashed: self._say("crash", crashed.url))

    async def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "confirm" and self._confirmed:
            await dialog.accept()
            return
        self._say("dialog", f"{dialog.type} {dialog.message!r} at {dialog.page.url if dialog.page else '?'}")
        await dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning") or self._is_of_allowed_status(message.text):
            return
        self._say("console", f"{message.text} at {message.page.url if message.page else '?'}")

    def _is_of_allowed_status(self, text: str) -> bool:
        found = re.search(r"responded with a status of (\d+)", text)
        return found is not None and int(found[1]) in self._allowed

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.hostname not in HERE:
            self._say("request to another host", f"{request.url} at {request.frame.url}")

    def _failed(self, request: Request) -> None:
        # A navigation that becomes a download, or that the next one overtakes, is told as a failure.
        if not ABORTED.search(request.failure or ""):
            self._say("failed request", f"{request.method} {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._allowed:
            self._say("status", f"{response.status} {response.request.method} {response.url}")
