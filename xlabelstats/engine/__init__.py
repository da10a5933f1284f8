"""How measures are computed: blocks reduced to tables, tables merged, columns finished.  Knows no measure by name."""
