"""The molecules of the embedded example: capped amino acids, and related molecules for the training of its teacher."""

CAPPED = "CC(=O)N[C@@H]({})C(=O)NC"

DOMAIN = {
    "gly": "CC(=O)NCC(=O)NC",
    "ala": CAPPED.format("C"),
    "ser": CAPPED.format("CO"),
    "asn": CAPPED.format("CC(N)=O"),
    "thr": CAPPED.format("[C@@H](C)O"),
    "pro": "CC(=O)N1CCC[C@H]1C(=O)NC",
}
"""Name → SMILES of the chemical subdomain that the student learns (19–26 atoms without waters)."""

RELATIVES = {
    "val": CAPPED.format("C(C)C"),
    "asp": CAPPED.format("CC(=O)O"),
    "gln": CAPPED.format("CCC(N)=O"),
    "leu": CAPPED.format("CC(C)C"),
    "phe": CAPPED.format("Cc1ccccc1"),
    "his": CAPPED.format("Cc1c[nH]cn1"),
    "gly_gly": "CC(=O)NCC(=O)NCC(=O)NC",
    "ala_gly": "CC(=O)N[C@@H](C)C(=O)NCC(=O)NC",
    "free_ala": "C[C@H](N)C(=O)O",
    "free_ser": "OC[C@H](N)C(=O)O",
    "free_pro": "OC(=O)[C@@H]1CCCN1",
    "acetamide": "CC(N)=O",
    "methylacetamide": "CC(=O)NC",
    "urea": "NC(N)=O",
    "ethanol": "CCO",
    "propanol": "CC(C)O",
    "acetic_acid": "CC(=O)O",
    "methylamine": "CN",
    "pyrrolidine": "C1CCNC1",
    "imidazole": "c1c[nH]cn1",
    "water": "O",
}
"""Name → SMILES of the other molecules in the training set of the teacher."""
