"""Idealised internal coordinates of the side chains of the twenty standard amino acids (data only)."""

__all__ = ["SIDE_CHAINS"]

SIDE_CHAINS: dict[str, str] = {
    "GLY": "",
    "ALA": "CB",
    "ARG": """CB
        CG  CB CA N    1.52 114.0  -65
        CD  CG CB CA   1.52 111.5  180
        NE  CD CG CB   1.46 112.0  180
        CZ  NE CD CG   1.33 124.5  180
        NH1 CZ NE CD   1.33 120.5    0
        NH2 CZ NE CD   1.33 119.5  180""",
    "ASN": """CB
        CG  CB CA N    1.52 112.6  -65
        OD1 CG CB CA   1.23 120.8  -30
        ND2 CG CB CA   1.33 116.5  150""",
    "ASP": """CB
        CG  CB CA N    1.52 112.6  -65
        OD1 CG CB CA   1.25 118.4  -30
        OD2 CG CB CA   1.25 118.4  150""",
    "CYS": """CB
        SG  CB CA N    1.81 113.8  -65""",
    "GLN": """CB
        CG  CB CA N    1.52 114.0  -65
        CD  CG CB CA   1.52 112.6  180
        OE1 CD CG CB   1.23 120.8    0
        NE2 CD CG CB   1.33 116.5  180""",
    "GLU": """CB
        CG  CB CA N    1.52 114.0  -65
        CD  CG CB CA   1.52 112.6  180
        OE1 CD CG CB   1.25 118.4    0
        OE2 CD CG CB   1.25 118.4  180""",
    "HIS": """CB
        CG  CB CA N    1.50 113.8  -65
        ND1 CG CB CA   1.38 122.7  -75
        CD2 CG CB CA   1.36 130.8  105
        CE1 ND1 CG CB  1.33 108.7  180
        NE2 CD2 CG CB  1.38 107.2  180""",
    "ILE": """CB
        CG1 CB CA N    1.53 110.4  -65
        CG2 CB CA N    1.53 110.5  173
        CD1 CG1 CB CA  1.52 113.8  170""",
    "LEU": """CB
        CG  CB CA N    1.53 116.3  -65
        CD1 CG CB CA   1.52 110.5  175
        CD2 CG CB CA   1.52 110.5  -63""",
    "LYS": """CB
        CG  CB CA N    1.52 114.0  -65
        CD  CG CB CA   1.52 111.5  180
        CE  CD CG CB   1.52 111.5  180
        NZ  CE CD CG   1.49 111.8  180""",
    "MET": """CB
        CG  CB CA N    1.52 114.0  -65
        SD  CG CB CA   1.80 112.7  180
        CE  SD CG CB   1.79 100.9  180""",
    "PHE": """CB
        CG  CB CA N    1.50 113.8  -65
        CD1 CG CB CA   1.39 120.6   90
        CD2 CG CB CA   1.39 120.6  -90
        CE1 CD1 CG CB  1.39 120.6  180
        CE2 CD2 CG CB  1.39 120.6  180
        CZ  CE1 CD1 CG 1.39 120.0    0""",
    "PRO": """CB
        CG  CB CA N    1.50 104.5   27
        CD  CG CB CA   1.50 105.5  -36""",
    "SER": """CB
        OG  CB CA N    1.42 111.1  -65""",
    "THR": """CB
        OG1 CB CA N    1.43 109.6   60
        CG2 CB CA N    1.53 111.1  -62""",
    "TRP": """CB
        CG  CB CA N    1.50 113.6  -65
        CD1 CG CB CA   1.37 126.9  -90
        CD2 CG CB CA   1.43 126.8   90
        NE1 CD1 CG CB  1.38 110.2  180
        CE2 CD2 CG CB  1.41 107.2  180
        CE3 CD2 CG CB  1.40 133.9    0
        CZ2 CE2 CD2 CG 1.40 122.4  180
        CZ3 CE3 CD2 CG 1.38 118.6  180
        CH2 CZ2 CE2 CD2 1.37 117.5   0""",
    "TYR": """CB
        CG  CB CA N    1.50 113.8  -65
        CD1 CG CB CA   1.39 120.8   90
        CD2 CG CB CA   1.39 120.8  -90
        CE1 CD1 CG CB  1.39 121.2  180
        CE2 CD2 CG CB  1.39 121.2  180
        CZ  CE1 CD1 CG 1.39 119.6    0
        OH  CZ CE1 CD1 1.37 119.9  180""",
    "VAL": """CB
        CG1 CB CA N    1.53 110.5  175
        CG2 CB CA N    1.53 110.5  -63""",
}
"""One row per heavy atom: name, the atom it is bonded to, that one's neighbour, the next one, then the bond
length in angstrom, the bond angle and the dihedral in degrees. CB belongs to the backbone frame and carries
no numbers.

Lengths and angles are the usual equilibrium values of small-molecule crystallography; the dihedrals are
common rotamers. They place the atoms within reach of a minimiser, which is all that is asked of them.
"""
