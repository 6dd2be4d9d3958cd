"""Check a student, a teacher, a data set or the terms of a loss against their contract, a line per property."""

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from jointkd.cli import resolvers
from jointkd.cli.command import readable_errors
from jointkd.cli.config_tree import CONF, choices, flatten
from jointkd.cli.options import check_values
from jointkd.errors import ConfigError, did_you_mean, first_line

if TYPE_CHECKING:
    from jointkd.contracts.properties import Contract

GROUPS = {"student": "student", "teacher": "teacher", "reader": "data", "term": "method"}
ALIAS = "checked"  # what the configuration file of the object is called while it is read
DEFAULTS: dict[str, dict[str, Any]] = {  # of a class that is named by its import path
    "student": {},
    "teacher": {"name": ALIAS, "dtype": "float64"},
    "reader": {"name": ALIAS},
    "term": {"weight": 1.0, "norm": "l2"},
}
SMALL = {"width": 16, "layers": 2, "blocks": 2, "radial": 6, "spherical": 4, "cutoff": 4.0}  # of a student's file
HELP = f"""Check an object of your own against the contract of its kind: a line per property, exit status 1 if any failed.

  python -m jointkd.contract student=my_module.MyStudent student.width=32
  python -m jointkd.contract student=pairs.yaml                        a file as those in conf/student
  python -m jointkd.contract teacher=my_module.Morse teacher.depth=4
  python -m jointkd.contract reader=my_module.MyData reader.path=mine.npz
  python -m jointkd.contract term=my_module.NetForce term.norm=l2

Each of student, teacher, reader and term takes the import path of a class, a configuration file, or a name:
{{choices}}

Options of the object follow as KIND.name=value. A student's file is taken with small sizes ({", ".join(SMALL)}),
unless you give them. docs/contracts.md says what is checked, and how to run a contract under pytest.
"""
