"""MkDocs hooks: pages that are not files of docs/, and links from pages to other files of the repository.

README.md, CONTRIBUTING.md and CHANGELOG.md become pages where they lie. The API reference has a page for each package
folder with a section for each of its modules; both are found in the source tree, so a new module appears by itself.
"""

import ast
import logging
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.reference")

ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
INTERNAL = ("jointkd.cli", "jointkd.commands", "jointkd.demo", "jointkd.moved")  # nobody is to import from them
REFERENCE = "API reference"  # title of the section of `nav` that is filled in here
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")  # the target of a Markdown link without scheme or anchor
FENCED = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the API reference of the navigation with the packages that exist."""
    pages: list[dict[str, str] | str] = ["reference/index.md"]
    pages += [{package.removeprefix("jointkd."): uri(package)} for package in packages(root_of(config))]
    (section,) = (entry for entry in config.nav or [] if isinstance(entry, dict) and REFERENCE in entry)
    section[REFERENCE] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root and those of the API reference."""
    root = root_of(config)
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(root / source)))
    found = packages(root)
    for package, modules in found.items():
        files.append(File.generated(config, uri(package), content=page_of(package, modules)))
    files.append(File.generated(config, "reference/index.md", content=index_of(root, found)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that are relative to the file in the repository into links between pages, or to the source code."""
    root, docs = root_of(config), Path(config.docs_dir)
    source = Path(page.file.abs_src_path or docs / page.file.src_uri)

    def target(match: re.Match[str]) -> str:
        linked = Path(os.path.normpath(source.parent / match[0]))
        inside = linked.relative_to(root).as_posix() if linked.is_relative_to(root) else match[0]
        if linked.is_relative_to(docs):
            return os.path.relpath(linked.relative_to(docs), Path(page.file.src_uri).parent)  # MkDocs checks it
        if inside in ROOT_PAGES:
            return os.path.relpath(ROOT_PAGES[inside], Path(page.file.src_uri).parent)
        if not linked.exists():
            log.warning("%s links to %s, which does not exist", source.relative_to(root), match[0])
        return f"{config.repo_url}/{'tree' if linked.is_dir() else 'blob'}/main/{inside}"

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(target, part) for part in parts)


def root_of(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def packages(root: Path) -> dict[str, list[str]]:
    """The package folders with a public interface, each with its modules (at the root without the commands)."""
    found = {}
    for init in sorted((root / "jointkd").rglob("__init__.py")):
        package = ".".join(init.parent.relative_to(root).parts)
        if not package.startswith(INTERNAL):
            files = sorted(file for file in init.parent.glob("*.py") if not is_command(file))
            modules = [f"{package}.{file.stem}" for file in files if not file.stem.startswith("_")]
            found[package] = [module for module in modules if module not in INTERNAL]
    return found


def is_command(file: Path) -> bool:
    """Whether `python -m` runs the module."""
    return 'if __name__ == "__main__":' in file.read_text()


def uri(package: str) -> str:
    return f"reference/{package}.md"


def page_of(package: str, modules: list[str]) -> str:
    own = "options: {show_root_heading: false, show_root_toc_entry: false, members: false}"
    return "\n\n".join([f"# `{package}`", f"::: {package}\n    {own}", *(f"::: {module}" for module in modules)])


def index_of(root: Path, found: dict[str, list[str]]) -> str:
    """A table of all packages and modules with the first sentence that each says of itself."""
    rows = ["# API reference", "Units, signs and shapes: [conventions](../conventions.md).", ""]
    for package, modules in found.items():
        page = f"{package}.md"
        rows += [f"## [`{package}`]({page})", "", summary(root, package), ""]
        if modules:
            rows += ["| module | |", "|---|---|"]
            rows += [f"| [`{name.rsplit('.')[-1]}`]({page}#{name}) | {summary(root, name)} |" for name in modules]
            rows += [""]
    return "\n".join(rows)


def summary(root: Path, name: str) -> str:
    """The first sentence of a module's docstring: it ends with a line."""
    path = root.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return re.split(r"[.:]\n|\n\n", docstring, maxsplit=1)[0].replace("\n", " ").rstrip(".").replace("|", "\\|")
