"""Rates and sizes as text, in readable units."""


def format_rate(per_second: float) -> str:
    """A rate in structures per second, or per hour if it is low."""
    return f"{per_second:.1f} structures/s" if per_second >= 0.1 else f"{3600 * per_second:.0f} structures/h"


def format_bytes(size: int) -> str:
    """A number of bytes in MB or GB."""
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
