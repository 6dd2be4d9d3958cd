"""Interfaces from students to simulation programs."""
