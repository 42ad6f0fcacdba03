# SPDX-License-Identifier: GPL-2.0
"""Files that are replaced whole: a reader sees the old content or the new, never half."""

import json
from pathlib import Path
from typing import Any


def save_json(path: Path, value: Any) -> None:
    """Write `value` as JSON by way of a file beside `path`. Raises OSError; `path` is as before then."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    partial.replace(path)
