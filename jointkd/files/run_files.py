"""The files in the folder of a run by their names: one command writes them, others read them."""

STUDENT = "student.safetensors"
CONFIGURATION = "config.yaml"
PROVENANCE = "provenance.json"
CARD = "student.md"
SPLIT = "split.json"
SUMMARY = "summary.json"  # written last: a run is finished where it is
TESTED_STRUCTURES = "test.csv"
PARITY = "parity.npz"  # densities of predictions and labels
PARITY_PLOT = "test.png"  # predictions against labels of the test structures
ACCEPTANCE = "acceptance.json"
SPEED = "speed.json"
CHECKPOINTS = "checkpoints"  # a folder
OF_A_RUN = (STUDENT, CONFIGURATION, SUMMARY, CHECKPOINTS)  # by any of which a folder is known as that of a run
