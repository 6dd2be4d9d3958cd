"""`jointkd.calculator.JointKD`, the ASE calculator, under its documented name; it lives in `jointkd.deploy.ase`."""

from jointkd.deploy.ase import JointKD

__all__ = ["JointKD"]
