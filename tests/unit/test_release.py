"""What a release must fulfil, by the script that the release workflow runs."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import jointkd

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "check_release.py"
check_release = SimpleNamespace(**runpy.run_path(str(SCRIPT)))

FILES = {
    "pyproject.toml": '[project]\nname = "jointkd"\nversion = "1.2.0"\n',
    "jointkd/__init__.py": '__version__ = "1.2.0"\n',
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\n",
    "CHANGELOG.md": "# Changelog\n\n## [1.2.0] – 2027-01-02\n\n### Added\n\n- News.\n\n## [1.1.0] – 2026-12-01\n",
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "jointkd").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_version_is_the_same_wherever_it_stands():
    assert set(check_release.versions(ROOT).values()) == {jointkd.__version__}


def test_the_notes_are_the_section_of_the_version_alone(root):
    assert check_release.notes("v1.2.0", root) == "### Added\n\n- News.\n"


@pytest.mark.parametrize("file", ["pyproject.toml", "jointkd/__init__.py", "CITATION.cff"])
def test_a_tag_that_is_not_the_version_of_a_file_is_refused(root, file):
    text = FILES[file].replace('version = "1.2.0"', 'version = "1.3.0"').replace("\nversion: 1.2.0", "\nversion: 1.3.0")
    (root / file).write_text(text.replace('__version__ = "1.2.0"', '__version__ = "1.3.0"'))
    with pytest.raises(check_release.Refused, match=f"^the tag v1.2.0 must be v1.3.0, the version in {file}$"):
        check_release.notes("v1.2.0", root)


@pytest.mark.parametrize(
    ("heading", "problem"),
    [
        ("## [1.2.1] – 2027-01-02", r"must have a section '## \[1.2.0\] – DATE'"),
        ("## [1.2.0] – 2027-01-02\n\n## [1.1.9] – 2027-01-01", r"must have a section '## \[1.2.0\] – DATE'"),
        ("## [1.2.0] – unreleased", "must give the date of 1.2.0 as YYYY-MM-DD instead of 'unreleased'"),
    ],
)
def test_a_version_without_a_dated_section_in_the_changelog_is_refused(root, heading, problem):
    (root / "CHANGELOG.md").write_text(FILES["CHANGELOG.md"].replace("## [1.2.0] – 2027-01-02", heading))
    with pytest.raises(check_release.Refused, match=problem):
        check_release.notes("v1.2.0", root)


def test_a_refusal_is_one_line_and_a_status():
    done = subprocess.run([sys.executable, SCRIPT, "v0.0.1"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert (
        done.stderr == f"not released: the tag v0.0.1 must be v{jointkd.__version__}, the version in pyproject.toml\n"
    )
