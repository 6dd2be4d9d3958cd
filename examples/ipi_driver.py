"""The driver that i-PI loads: `i-pi-py_driver -m custom -P ipi_driver.py …`, or `pes_path` of ipi.xml."""

from jointkd.deploy.ipi import __DRIVER_CLASS__, __DRIVER_NAME__, JointKDDriver

__all__ = ["__DRIVER_CLASS__", "__DRIVER_NAME__", "JointKDDriver"]
