"""The files under /static, read once at import; the address holds a hash of the content, so that browsers may keep them for ever."""

import hashlib
from pathlib import Path
from typing import Final

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
_FILES: Final = {file.name: file.read_bytes() for file in sorted(_FOLDER.iterdir()) if file.suffix in _TYPES}
_HASHES: Final = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _FILES.items()}


def asset(name: str) -> str:
    """The address of a file; KeyError for one that does not exist, at the first rendering of a template."""
    return f"/static/{_HASHES[name]}/{name}"


@get("/static/{digest:str}/{name:str}", include_in_schema=False)
async def get_asset(digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    content = _FILES.get(name)
    if content is None or _HASHES[name] != digest:
        raise NotFoundException
    headers = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
    return Response(content, media_type=_TYPES[Path(name).suffix], headers=headers)


@get("/favicon.ico", include_in_schema=False)
async def get_icon() -> Response[bytes]:
    return Response(_FILES["icon.svg"], media_type=_TYPES[".svg"], headers={"cache-control": "public, max-age=86400"})
