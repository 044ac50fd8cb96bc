"""Hooks of mkdocs: insert tables generated from the code, and add pages from outside `docs/`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from tables import ROOT, TABLES, studies

BESIDE = re.compile(r"\]\(([^):#]+)\)")  # relative links and pictures of a page


def on_config(config: Any) -> Any:
    """List pages that are missing from the navigation under "More"."""
    named = re.findall(r"[\w/-]+\.md", str(config.nav))
    others = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    if others:
        config.nav.append({"More": others})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the studies under `results/` and the benchmark notes as pages, with the files they link to."""
    for page in [*studies(), ROOT / "benchmarks" / "NOTES.md"]:
        beside = {page.parent / name for name in BESIDE.findall(page.read_text()) if not name.endswith(".md")}
        for path in [page, *sorted(beside)]:
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Insert tables, and change links from `../results/...`, which the repository needs, to `results/...`."""

    def put(match: re.Match[str]) -> str:
        if match[1] not in TABLES:
            raise PluginError(f"{page.file.src_uri}: unknown table {match[1]!r}; expected one of {', '.join(TABLES)}")
        return TABLES[match[1]]()

    markdown = re.sub(r"<!-- table: ([\w-]+) -->", put, markdown)
    return markdown if "/" in page.file.src_uri else re.sub(r"\]\(\.\./(?=results/|benchmarks/)", "](", markdown)
