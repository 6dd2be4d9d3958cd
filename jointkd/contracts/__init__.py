"""Contracts: what must hold for every student, teacher, reader and term, as test classes that run on any of them."""
