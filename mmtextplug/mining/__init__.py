"""Hard example mining, for pixels and for regions of interest."""
