"""The calls of other packages, answered by this one."""
