"""The documents and what is in them."""

import re

from helpers.repository import ROOT

DOCS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/logs/*/*.md"), ROOT / "datasets" / "README.md"]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(doc):
    return doc.relative_to(ROOT).as_posix()


def blocks(doc, language):
    """The contents of a document's fenced blocks of a language."""
    return [body for name, body in FENCE.findall(doc.read_text(encoding="utf-8")) if name == language]


def prose(doc):
    """The document without its fenced blocks."""
    return FENCE.sub("", doc.read_text(encoding="utf-8"))


def commands():
    """Command -> document, for every command line of every bash block, in the order of the documents."""
    found = {}
    for doc in DOCS:
        for body in blocks(doc, "bash"):
            for line in body.replace("\\\n", " ").splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    found.setdefault(line.strip(), name_of(doc))
    return found


def anchors(doc):
    """The fragments by which a document's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(doc), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
