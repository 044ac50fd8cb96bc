"""The import path of ReDo: `from hadamax.redo import redo`. The code is in `hadamax.diagnostics.redo`."""

from hadamax.diagnostics.redo import dormant, redo, reset_units, saturated

__all__ = ["dormant", "redo", "reset_units", "saturated"]
