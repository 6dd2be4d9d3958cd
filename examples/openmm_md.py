"""Molecular dynamics in OpenMM: python openmm_md.py student.safetensors"""

import sys
from pathlib import Path

import openmm
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.units import kJ, mol
from openmm import app, unit
from openmmml import MLPotential

atoms = read(Path(__file__).with_name("start.xyz"))
topology = app.Topology()
residue = topology.addResidue("ETH", topology.addChain())
for symbol in atoms.symbols:
    topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)

system = MLPotential("jointkd", modelPath=sys.argv[1]).createSystem(topology)
integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 10 / unit.picosecond, 0.5 * unit.femtosecond)
simulation = app.Simulation(topology, system, integrator)
simulation.context.setPositions(atoms.positions * unit.angstrom)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin)
simulation.step(200)

state = simulation.context.getState(positions=True, energy=True, forces=True)
atoms.positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
atoms.calc = SinglePointCalculator(atoms, energy=energy * kJ / mol, forces=forces * kJ / mol)
write("openmm_md.xyz", atoms)
