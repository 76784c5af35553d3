"""What the site needs beyond mkdocs.yml: design notes and new pages in the navigation, and links that lead out of docs/."""

import pathlib
import posixpath
import re

LINK = re.compile(r"\]\((\.\./[^)\s]+)\)")


def named(nav):
    """All files that a navigation names."""
    if isinstance(nav, str):
        return {nav}
    return set().union(*(named(each) for each in (nav.values() if isinstance(nav, dict) else nav)))


def on_config(config):
    docs = pathlib.Path(config["docs_dir"])
    others = sorted({page.name for page in docs.glob("*.md")} - named(config["nav"]))
    if others:
        config["nav"].append({"More": others})
    config["nav"].append({"Design notes": [f"design/{note.name}" for note in sorted((docs / "design").glob("*.md"))]})


def on_page_markdown(markdown, page, config, files):
    def target(match):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match.group(1)))
        if path.startswith("docs/"):  # from a design note to a page
            return match.group(0)
        return f"]({config['repo_url']}/blob/main/{path})"

    return LINK.sub(target, markdown)
