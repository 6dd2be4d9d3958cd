"""Molecular dynamics in LAMMPS: LD_LIBRARY_PATH=$VIRTUAL_ENV/lib python lammps_md.py student.safetensors"""

import sys
from pathlib import Path

from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from lammps import lammps

from jointkd.deploy.lammps import attach

atoms = read(Path(__file__).with_name("start.xyz"))
atoms.center(vacuum=5)
elements = sorted(set(atoms.symbols))
write("start.data", atoms, format="lammps-data", specorder=elements, masses=True, units="metal")

lmp = lammps(cmdargs=["-log", "none"])
lmp.commands_string("""
    units metal
    boundary s s s
    atom_modify map array
    read_data start.data
    pair_style zero 5.0
    pair_coeff * *
""")
attach(lmp, sys.argv[1], elements)
lmp.commands_string("""
    thermo_style custom step temp pe etotal press
    thermo_modify norm no
    thermo 50
    timestep 0.0005
    velocity all create 300 1
    fix move all nvt temp 300 300 0.1
    run 200
""")

order = lmp.numpy.extract_atom("id")[: len(atoms)].argsort()
atoms.positions, forces = (lmp.numpy.extract_atom(name)[: len(atoms)][order] for name in ("x", "f"))
atoms.calc = SinglePointCalculator(atoms, energy=lmp.get_thermo("pe"), forces=forces.copy())
write("lammps_md.xyz", atoms)
