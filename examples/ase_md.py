"""Molecular dynamics in ASE: python ase_md.py student.safetensors"""

import sys
from pathlib import Path

from ase import units
from ase.io import read, write
from ase.md.langevin import Langevin

from jointkd import load

atoms = read(Path(__file__).with_name("start.xyz"))
atoms.calc = load(sys.argv[1]).ase()
Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.02 / units.fs, fixcm=False).run(200)
write("ase_md.xyz", atoms)
