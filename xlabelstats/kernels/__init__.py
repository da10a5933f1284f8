"""The hot loops, one file per kind of array. They know arrays, not names."""
