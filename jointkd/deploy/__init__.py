"""Students in the programs that run dynamics with them."""
