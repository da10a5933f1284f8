"""OME-Zarr: images and label masks opened as named arrays, and masks and tables put below an image."""
