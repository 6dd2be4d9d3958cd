"""New structures for a teacher to label: made from those at hand, screened, and chosen for their diversity."""
