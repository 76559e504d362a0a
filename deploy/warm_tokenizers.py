"""Fill TIKTOKEN_CACHE_DIR from the installed bpe-openai package, so that an image counts tokens with no network.

Loading each encoding afterwards makes tiktoken check its own hash of the file.
"""

import gzip
import importlib.util
import os
from pathlib import Path

import tiktoken

# tiktoken names a cached file by the SHA-1 of the address it would download it from.
CACHED_AS = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}


def main() -> None:
    package = importlib.util.find_spec("bpe_openai")
    if package is None or package.origin is None:
        raise SystemExit("bpe-openai is not installed: there is nothing to fill the tokenizer cache from")
    cache = Path(os.environ["TIKTOKEN_CACHE_DIR"])
    cache.mkdir(parents=True, exist_ok=True)
    for encoding, name in CACHED_AS.items():
        packed = Path(package.origin).parent / "data" / f"{encoding}.tiktoken.gz"
        (cache / name).write_bytes(gzip.decompress(packed.read_bytes()))
        tiktoken.get_encoding(encoding)


if __name__ == "__main__":
    main()
